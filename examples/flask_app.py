"""A Flask application that is its own gateway: the hosts of `services.yaml` go to their services,
everything else is its own.

    python examples/flask_app.py    # on http://127.0.0.1:8000 until Ctrl-C
    gunicorn --chdir examples --threads 8 flask_app:app

Needs the extra `wsgi`, flask, and waitress or gunicorn.
"""

from __future__ import annotations

import flask
import waitress

import meshlib
from meshlib_adapters import FileProvider
from meshlib_adapters.wsgi import mesh_wsgi

app = flask.Flask(__name__)
mesh = meshlib.Mesh()
gateway = mesh_wsgi(app.wsgi_app, mesh=mesh, providers=[FileProvider("services.yaml")])
app.wsgi_app = gateway  # type: ignore[method-assign]


@app.get("/")
def own_page() -> str:
    return f"the application's own page, beside {len(mesh.routes)} routes\n"


if __name__ == "__main__":
    waitress.serve(app, listen="127.0.0.1:8000")
