"""Choice among endpoints: their addresses, the sessions bound to them, the order in which
connections get them, and the queue for when none has room.
"""
