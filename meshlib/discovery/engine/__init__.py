"""A Docker engine's JSON to records, and records to a snapshot."""
