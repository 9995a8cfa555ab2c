"""HTTP/2 on the wire: bytes in, frames out. Nothing here knows a socket, a stream's state
or HPACK.
"""

from meshlib.http2.frames import Flag, FrameReader, Kind, RawFrame, block_of, body_of

__all__ = ["Flag", "FrameReader", "Kind", "RawFrame", "block_of", "body_of"]
