"""Published UDP: one listener, and a flow for each client."""
