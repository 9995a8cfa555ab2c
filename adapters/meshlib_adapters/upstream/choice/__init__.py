"""Choice among endpoints: their addresses, the sessions bound to them, and the order in which
connections get them.
"""
