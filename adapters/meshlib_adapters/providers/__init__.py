"""Sources of snapshots: files, Docker engines, and the state kept from before the start."""
