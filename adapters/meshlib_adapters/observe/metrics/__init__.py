"""Metrics summed over all processes, in Prometheus' text format. No work is done per request:
records are counted in batches.
"""
