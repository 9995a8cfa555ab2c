"""Whoever sets up the logger `meshlib` gets every log record of ours, and can silence each part by
the name that the page gives it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.tree import ADAPTERS, ROOT, modules_under


def _names() -> Iterator[tuple[str, str]]:
    """File and name of every logger that the adapters ask for: names in quotes as they are,
    others as source text. The core has none (test_core_is_pure).
    """
    for path in modules_under(ADAPTERS):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in ("logging.getLogger", "getLogger")
                and node.args
            ):
                name = node.args[0]
                literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
                yield (
                    path.relative_to(ADAPTERS).as_posix(),
                    ast.literal_eval(name) if literal else f"<{ast.unparse(name)}>",
                )


def test_every_logger_is_below_meshlib_and_on_the_page() -> None:
    # The one call with a computed name makes other libraries quieter.
    names = set(_names()) - {("observe/logs.py", "<name>")}
    page = (ROOT / "docs" / "library.md").read_text()
    table = page.partition("\n| below `meshlib` | logs |\n")[2].partition("\n\n")[0]
    documented = {f"meshlib.{name}" for name in re.findall(r"(?m)^\| `([a-z.]+)` \|", table)}
    assert len(names) > 20
    assert {name for _, name in names} == documented
