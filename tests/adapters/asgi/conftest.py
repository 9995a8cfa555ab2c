from tests.support.http_fixtures import backend, stack

__all__ = ["backend", "stack"]
