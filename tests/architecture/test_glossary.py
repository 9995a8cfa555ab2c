"""Code, documents, logs and help texts say a thing by its word of docs/glossary.md."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

import pytest

from meshlib_adapters.config.sources import KEYS
from tests.architecture.tree import ADAPTERS, CORE, ROOT, modules_under

_GLOSSARY: Final = ROOT / "docs/glossary.md"
# Old changes and decisions keep the words of their day.
_PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Settings are public: their names stay, also as arguments of tests (`discovery__answer_size`).
_SETTINGS: Final = {key.rpartition(".")[2] for key in KEYS}
_SETTING: Final = re.compile(rf"\b(?:\w+__)?(?:{'|'.join(map(re.escape, sorted(_SETTINGS)))})\b")


@functools.cache
def replaced_words() -> list[str]:
    rows = re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|$", _GLOSSARY.read_text(), re.M)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def old_words(text: str) -> set[str]:
    """The replaced words in a text, also as parts of identifiers (`AnswerSize`, `_old_memo`)."""
    kept = _SETTING.sub("", text)
    plain = re.sub(r"[^A-Za-z]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kept)).lower()
    return {word for word in replaced_words() if re.search(rf"\b{word}\b", plain)}


def _place(path: Path) -> str:
    """The package of a module, the page itself of a document."""
    parts = path.relative_to(ROOT).parts
    depth = {"meshlib": 2, "adapters": 3, "examples": 2, "tests": 3}.get(parts[0], len(parts))
    return "/".join(parts[:depth])


@functools.cache
def _places() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    roots = (CORE, ADAPTERS, ROOT / "examples", ROOT / "tests")
    modules = [path for root in roots for path in modules_under(root)]
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    for path in [*modules, *scripts, *_PAGES]:
        if path not in {_GLOSSARY, Path(__file__)}:  # these must name them
            found.setdefault(_place(path), set()).update(old_words(path.read_text()))
    return found


def test_no_place_says_an_old_word() -> None:
    found = _places()
    assert len(found) > 40
    assert {place: words for place, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("class AnswerSize:", "answer"),
        ("self._answers_left = 1", "answers"),
        ("TLS that is ended\n    here", "ended here"),
        ("the OUTBOX of a turn", "outbox"),
    ],
)
def test_an_old_word_is_found(text: str, word: str) -> None:
    assert old_words(text) == {word}


def test_longer_words_and_settings_are_left_alone() -> None:
    assert old_words("memory, unanswerable, discovery.answer_size, discovery__answer_size") == set()
