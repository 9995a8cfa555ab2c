"""Routes from a Docker engine or a Swarm."""
