"""Published UDP: one listener, a flow for each client, and the sockets of both."""
