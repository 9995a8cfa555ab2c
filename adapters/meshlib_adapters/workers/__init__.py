"""Processes that serve, this one or others: the data path, the pool of workers, and what they tell
each other.
"""
