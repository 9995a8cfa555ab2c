"""Connections that a program has itself: what they begin with, and bytes between two of them."""
