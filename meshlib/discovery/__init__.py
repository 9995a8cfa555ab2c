"""Resolvers: what engines and files say, to a `Snapshot`. Pure: an engine's JSON comes in decoded,
times come in as numbers.
"""
