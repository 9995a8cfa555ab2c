"""docs/reference.md is what `scripts/api-reference` makes of the docstrings, and has every public
name once.
"""

from __future__ import annotations

import importlib
import re
import runpy

from tests.architecture.tree import ROOT

_SCRIPT = runpy.run_path(str(ROOT / "scripts/api-reference"))
_PAGE = (ROOT / "docs/reference.md").read_text()


def test_the_page_is_up_to_date() -> None:
    assert _SCRIPT["page"]() == _PAGE, "run scripts/api-reference --write"


def test_every_public_name_has_an_entry() -> None:
    shown = re.findall(r"^### (\w+)$", _PAGE, re.MULTILINE)
    exported: list[str] = []
    for face in _SCRIPT["FACES"]:
        exported += importlib.import_module(face).__all__
    assert sorted(shown) == sorted(exported)
    assert len(shown) > 70


def test_an_entry_says_something() -> None:
    silent = []
    for entry in re.split(r"^### ", _PAGE, flags=re.MULTILINE)[1:]:
        name, _, rest = entry.partition("\n\n")
        prose = re.sub(r"^```.*?^```", "", rest.partition("\n## ")[0], flags=re.M | re.S)
        if not prose.partition("\n")[2].strip():  # behind the import
            silent.append(name)
    assert [name for name in silent if not name.endswith("Decision")] == []


def test_code_in_a_docstring_is_code_on_the_page() -> None:
    assert (
        '```\nTCPGateway(["10.0.0.5:5432", "10.0.0.6:5432"], listen=":5432").run()\n```\n' in _PAGE
    )
    assert _PAGE.count("```") % 2 == 0
