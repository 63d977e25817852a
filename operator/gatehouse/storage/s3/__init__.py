"""S3: requests, listings, uploads and refusals of every store that speaks its protocol."""
