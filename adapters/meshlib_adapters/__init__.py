"""Everything of meshlib that does I/O. Import the module you need; each needs only its own extra."""
