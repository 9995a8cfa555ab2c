"""The admin side: health, routes, explanations and metrics of a running gateway."""
