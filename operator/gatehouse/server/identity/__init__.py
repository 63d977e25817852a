"""Who asks, and what they may read and do.

A bearer token counts if the API server says so (TokenReview). Reads are filtered by what RBAC lets the caller list
(SubjectAccessReview). Writes go to the API server with the caller's own token, so that admission judges the caller and
the server needs no right to write. A proxy's headers count only from a peer that proved itself.
"""
