"""Resolvers for Docker engines: JSON to records, records to a snapshot."""
