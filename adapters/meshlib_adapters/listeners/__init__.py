"""Listeners for HTTP, TLS, TCP and UDP, and what they share: accepting, limits, deadlines, the
PROXY protocol.
"""
