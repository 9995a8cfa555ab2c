"""Moving bytes between two sockets in the kernel, and dialing endpoints."""
