"""Terminating TLS: certificates, contexts, tickets, and a transport that can begin with bytes read
before. Needs the extra `tls`.
"""
