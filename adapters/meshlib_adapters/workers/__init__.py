"""Processes that serve, this one or others: the data path, the workers, and their messages."""
