"""A Django application that is its own gateway: the hosts of `services.yaml` go to their services,
everything else is its own. A project does the same in its `wsgi.py`.

    python examples/django_app.py    # on http://127.0.0.1:8000 until Ctrl-C
    gunicorn --chdir examples --threads 8 django_app:application

Needs the extra `wsgi`, django, and waitress or gunicorn.
"""

from __future__ import annotations

import waitress
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

import meshlib
from meshlib_adapters import FileProvider
from meshlib_adapters.wsgi import mesh_wsgi

mesh = meshlib.Mesh()


def own_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"the application's own page, beside {len(mesh.routes)} routes\n")


settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=(path("", own_page),))
providers = [FileProvider("services.yaml")]
application = mesh_wsgi(get_wsgi_application(), mesh=mesh, providers=providers)

if __name__ == "__main__":
    waitress.serve(application, listen="127.0.0.1:8000")
