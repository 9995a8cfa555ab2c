"""Providers for Docker: the services of a Swarm, the containers of one engine. Needs the extra
`docker`.
"""
