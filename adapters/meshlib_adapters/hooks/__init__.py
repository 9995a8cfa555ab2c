"""Hooks on their way to the processes that serve."""
