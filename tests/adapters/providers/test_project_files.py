"""Files that a document names: within its directory, few, small, and remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.providers.project_files import MAX_FILES, ProjectFiles, marks_now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    (found / "sub").mkdir(parents=True)
    (found / "a.yml").write_text("services: {}\n")
    (found / "sub" / "b.env").write_text("A=1\n")
    (tmp_path / "outside.yml").write_text("secret: 1\n")
    return found


def test_files_are_read_once_each(root: Path) -> None:
    files = ProjectFiles(root)
    first = files.document("a.yml", str(root))
    assert (first.path, first.directory, first.content) == (
        str(root / "a.yml"),
        str(root),
        {"services": {}},
    )
    (root / "a.yml").write_text("services: {a: 1}\n")
    assert files.document("../a.yml", str(root / "sub")) is first
    text = files.text("sub/../sub/b.env", str(root))
    assert (text.path, text.directory, text.content) == (
        str(root / "sub/b.env"),
        str(root / "sub"),
        "A=1\n",
    )
    assert files.text(str(root / "sub/b.env"), "/") is text
    assert files.directory("sub", str(root)) == str(root / "sub")
    assert list(files.marks) == [root / "a.yml", root / "sub/b.env"]


def test_what_is_asked_for_is_remembered(root: Path) -> None:
    files = ProjectFiles(root)
    assert files.own(root / "a.yml") == b"services: {}\n"
    assert not files.exists(".env", str(root))
    assert files.exists("sub/b.env", str(root))
    assert not files.exists("sub", str(root))
    with pytest.raises(ConfigurationError, match=r"none.yml: cannot be read: No such file"):
        files.document("none.yml", str(root))
    assert marks_now(files.marks) == files.marks
    for change in (
        lambda: (root / ".env").write_text("A=1"),
        lambda: (root / "none.yml").write_text("a: 1"),
        lambda: (root / "a.yml").chmod(0o600),
        lambda: (root / "sub/b.env").unlink(),
    ):
        before = marks_now(files.marks)
        change()
        assert marks_now(files.marks) != before


def test_links_within_the_directory_are_followed(root: Path) -> None:
    (root / "link.yml").symlink_to("sub/c.yml")
    (root / "sub" / "c.yml").write_text("a: 1")
    (root.parent / "current").symlink_to(root)
    files = ProjectFiles(root.parent / "current")
    assert files.document("link.yml", str(root.parent / "current")).content == {"a": 1}


def outside_by_link(root: Path) -> str:
    (root / "link.yml").symlink_to(root.parent / "outside.yml")
    return "link.yml"


def outside_by_directory(root: Path) -> str:
    (root / "up").symlink_to(root.parent)
    return "up/outside.yml"


@pytest.mark.parametrize(
    "name",
    [
        lambda root: "../outside.yml",
        lambda root: str(root.parent / "outside.yml"),
        lambda root: "sub/../../outside.yml",
        lambda root: "~/a.yml",
        lambda root: f"../{root.name}-more/a.yml",
        outside_by_link,
        outside_by_directory,
    ],
)
def test_files_outside_are_not_read(root: Path, name: Callable[[Path], str]) -> None:
    files = ProjectFiles(root)
    path = name(root)
    for ask in (files.document, files.text, files.exists, files.directory):
        with pytest.raises(ConfigurationError, match=f"is outside {root}"):
            ask(path, str(root))


@pytest.mark.parametrize(
    "path",
    [
        "https://example.com/a.yml",
        "oci://registry.example.com/a",
        "git@github.com:a/b.git",
        "oci:a",
    ],
)
def test_nothing_is_fetched(root: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match="is not on this machine, and is not fetched"):
        ProjectFiles(root).document(path, str(root))


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    files = ProjectFiles(root)
    for name in ("pipe", "sub"):
        with pytest.raises(ConfigurationError, match=r"is not a file|Is a directory"):
            files.text(name, str(root))
    with pytest.raises(ConfigurationError, match="is not the path of a file"):
        files.text("a\0b", str(root))
    (root / "loop").symlink_to("loop")
    with pytest.raises(ConfigurationError):
        files.text("loop", str(root))


def test_texts_are_utf_8(root: Path) -> None:
    (root / "c.env").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"c.env: is not UTF-8"):
        ProjectFiles(root).text("c.env", str(root))
    with pytest.raises(ConfigurationError, match=r"c.env: is not YAML"):
        ProjectFiles(root).document("c.env", str(root))


def test_files_are_few_and_small(root: Path) -> None:
    files = ProjectFiles(root, max_size=1 << 20)
    for number in range(MAX_FILES):
        assert not files.exists(f"{number}.env", str(root))
    with pytest.raises(ConfigurationError, match="is one file too many: more than 200"):
        files.exists("more.env", str(root))
    assert not files.exists("0.env", str(root))
    files = ProjectFiles(root, max_size=1 << 20)
    (root / "half.env").write_bytes(b"#" * (1 << 19))
    (root / "more.env").write_bytes(b"#" * (1 << 19) + b"#")
    (root / "much.env").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ConfigurationError, match=r"much.env: is larger than 1 MiB"):
        files.text("much.env", str(root))
    files.text("half.env", str(root))
    with pytest.raises(ConfigurationError, match=r"more.env: is, with the files before it, larger"):
        files.text("more.env", str(root))
