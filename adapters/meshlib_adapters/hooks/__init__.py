"""Hooks that people use, each a class of its own module, and their way to workers."""
