"""Upstreams at run time: pools of connections to endpoints, queues, health, and how endpoints are
chosen.
"""
