"""What a person or a pipeline publishes: uploads, registrations, the seed."""
