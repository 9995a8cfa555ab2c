"""Files of services, as people write them, to a snapshot."""
