"""HTTP/2 frames of one connection, whichever end we are: the `h2` codec under our budgets. Needs
the extra `http2`.
"""
