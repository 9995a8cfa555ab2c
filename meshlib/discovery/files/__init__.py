"""Resolver for files of services, as people write them."""
