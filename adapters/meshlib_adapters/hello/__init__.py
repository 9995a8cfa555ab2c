"""What a TLS client says first: taken from a file or a port, and told field by field."""
