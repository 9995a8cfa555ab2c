"""Sources of snapshots: files, Docker engines, and what was kept from before the start."""
