"""The task of the comparison with meshlib. It has WebSockets, too."""

import meshlib
from meshlib_adapters.asgi import MeshApp


def create_app(*endpoints: str) -> MeshApp:
    moved = meshlib.redirect("https://shop.example.com")
    return MeshApp(meshlib.Mesh({"shop.example.com": endpoints, "old.example.com": moved}))
