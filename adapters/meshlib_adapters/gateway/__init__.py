"""The reference gateway: settings, wiring and command line, made of nothing but meshlib's parts.

Only composition lives here. Whoever builds a gateway of their own imports the parts, not this.
"""
