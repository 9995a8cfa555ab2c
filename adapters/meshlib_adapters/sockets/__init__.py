"""Sockets of our own, whatever is spoken on them."""
