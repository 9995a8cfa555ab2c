"""The first message of a TLS client: taken from a file or a port, and told field by field."""
