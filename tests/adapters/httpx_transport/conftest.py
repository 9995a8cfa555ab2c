from meshlib_adapters.testing.plugin import fake_engine, fake_upstream
from tests.support.http_fixtures import backend, stack

__all__ = ["backend", "fake_engine", "fake_upstream", "stack"]
