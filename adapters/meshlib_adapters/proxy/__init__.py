"""One request on its way, whatever it came by: retries, cached lines, local responses."""
