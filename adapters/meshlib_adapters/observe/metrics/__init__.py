"""Counts summed over all processes, in Prometheus' text format. Nothing here is done per request:
records are folded in batches.
"""
