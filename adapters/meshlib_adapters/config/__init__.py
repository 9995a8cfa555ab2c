"""Settings: one dataclass a topic, and how they are read from files, variables and options."""
