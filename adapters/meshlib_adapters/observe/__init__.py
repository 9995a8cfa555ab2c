"""Observing a gateway: access log, end reasons, counters, spans, logs."""
