"""Nothing in the repository names the machine it was written on, or a host that packages are
fetched from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

# Put together from pieces, so that this file does not find itself.
_HOSTS = (
    "py" + "pi.org",
    "pythonh" + "osted.org",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
    "dock" + "er.io",
)
_FORBIDDEN = {
    "a checkout of ours": re.compile(r"(?<![\w.])/wo" + r"rk/"),
    "a private environment": re.compile(r"/tmp/" + r"venv\b"),
    "a home directory": re.compile(
        r"(?<![\w.])/(?:ho" + r"me/[a-z]|ro" + r"ot/|Us" + r"ers/[A-Z])"
    ),
    # The word before says where: as a URL or a host, not as the name of Debian's package.
    "a registry host": re.compile(
        r"(?i)(?://|\b[a-z0-9-]+\.|@)(?:" + "|".join(map(re.escape, _HOSTS)) + r")\b"
    ),
    "a package index": re.compile(r"--(?:extra-)?index-" + r"url|--find-" + r"links"),
}


def findings(text: str) -> list[str]:
    """What a text names that it must not."""
    return [
        f"{what}: {match.group()}"
        for what, pattern in _FORBIDDEN.items()
        if (match := pattern.search(text))
    ]


def _files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return []
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]


def test_no_tracked_file_names_a_machine() -> None:
    files = _files()
    if not files:
        pytest.skip("not a git checkout: nobody can say which files belong to the project")
    found = {}
    for path in files:
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            found[path.relative_to(ROOT).as_posix()] = findings(data.decode("utf-8", "replace"))
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    [
        "see /wo" + "rk/main/x",
        '"/tmp/' + 'venv/bin"',
        "/ho" + "me/jo/x",
        "https://py" + "pi.org/simple",
        "files.pythonh" + "osted.org",
        "pip --index-" + "url x",
    ],
)
def test_a_planted_name_is_found(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text", ["docs/work/flow", "WORKDIR /srv", "/worker", "~/.docker", "apt-get install docker.io"]
)
def test_ordinary_text_is_not(text: str) -> None:
    assert findings(text) == []
