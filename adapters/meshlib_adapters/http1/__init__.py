"""The HTTP/1 front: bytes of a client's connection to requests, and responses to bytes."""
