"""A gateway with sample services on this machine, without Docker: `python -m examples.demo`."""
