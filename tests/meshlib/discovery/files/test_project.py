"""Projects of several files: overrides, `extends`, `include`, `.env`."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.discovery.files.diagnostics import FileDiagnostics
from meshlib.discovery.files.project import (
    MAX_DEPTH,
    MAX_INCLUDES,
    ComposeContext,
    Project,
    assemble,
)
from meshlib.discovery.files.sources import ReadFile, Tagged
from meshlib.errors import ConfigurationError
from tests.support.texts import Texts

Said = list[tuple[str, str, str]]


def put_together(
    document: object, files: dict[str, object] | None = None, **context: Any
) -> tuple[Project, Said]:
    diagnostics = FileDiagnostics("")
    variables = context.pop("variables", {})
    overrides = [
        ReadFile(f"over{number}.yml", "/srv", one)
        for number, one in enumerate(context.pop("overrides", ()), 1)
    ]
    project = assemble(
        document,
        "main.yml",
        variables,
        ComposeContext(Texts(files or {}), "/srv", overrides, **context),
        diagnostics,
    )
    return project, [(d.code, d.label, d.message) for d in diagnostics.kept]


def images(project: Project) -> dict[object, list[object]]:
    """The services, each with the images of its sources, or what they are instead."""
    return {
        name: [one.value.get("image") if isinstance(one.value, dict) else None for one in sources]
        for name, sources in project.services.items()
    }


def service(image: str, **more: object) -> dict[str, object]:
    return {"image": image, **more}


def test_a_document_alone() -> None:
    project, said = put_together({"services": {"a": service("1"), "b": None}, "name": "shop"})
    assert images(project) == {"a": ["1"], "b": [None]}
    assert (project.name, project.whole, said) == ("shop", True, [])
    assert put_together({"services": {}, "name": ""})[1] == []


def test_files_are_laid_over_each_other() -> None:
    project, said = put_together(
        {"services": {"a": service("1")}, "name": "one"},
        overrides=[
            {"services": {"a": service("2"), "b": service("3")}, "name": "${N}"},
            {"services": {"a": service("4")}, "nam": "typo"},
        ],
        variables={"N": "two"},
    )
    assert images(project) == {"a": ["1", "2", "4"], "b": ["3"]}
    assert project.name == "two"
    assert [one.file for one in project.services["a"]] == ["", "over1.yml", "over2.yml"]
    assert said == [("SVC101", "over2.yml", "the key 'nam' is not known")]


@pytest.mark.parametrize("name", [5, ["a"], "$NONE"])
def test_a_name_that_is_none(name: object) -> None:
    project, said = put_together({"services": {}, "name": name})
    assert project.name == ""
    assert [(code, place) for code, place, _ in said] == [("SVC012", "name")]


@pytest.mark.parametrize("document", [[], {}, {"services": []}, {"services": None}])
def test_only_a_document_without_services_is_refused(document: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        put_together(document)
    assert caught.value.where == "main.yml"
    with pytest.raises(ConfigurationError) as caught:
        put_together({"services": {}}, overrides=[document])
    assert caught.value.where == "over1.yml"


# --- extends


def test_a_service_extends_one_of_its_file() -> None:
    services = {
        "a": service("1", extends="b"),
        "b": service("2", extends={"service": "$C"}),
        "c": service("3"),
    }
    project, said = put_together({"services": services}, variables={"C": "c"})
    assert images(project) == {"a": ["3", "2", "1"], "b": ["3", "2"], "c": ["3"]}
    assert said == []
    assert all(one.problem is None for sources in project.services.values() for one in sources)


def test_a_service_extends_one_of_another_file() -> None:
    files: dict[str, object] = {
        "base/b.yml": {
            "services": {"x": service("2", extends={"file": "../c.yml", "service": "x"})}
        },
        "c.yml": {"services": {"x": service("3")}},
    }
    project, _ = put_together(
        {"services": {"a": service("1", extends={"file": "base/b.yml", "service": "x"})}}, files
    )
    assert images(project) == {"a": ["3", "2", "1"]}
    assert [(one.file, one.directory) for one in project.services["a"]] == [
        ("/srv/c.yml", "/srv"),
        ("/srv/base/b.yml", "/srv/base"),
        ("", "/srv"),
    ]


def test_tags_at_extends() -> None:
    services = {
        "a": Tagged("!override", service("1", extends="b")),
        "b": service("2", extends=Tagged("!reset", "c")),
    }
    project, _ = put_together({"services": services})
    assert [one.value for one in project.services["a"]] == [services["b"], services["a"]]
    assert images(project)["b"] == ["2"]


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("none", "there is no service 'none' in this file"),
        ({"service": "x", "file": "none.yml"}, "there is no none.yml"),
        ({"service": "y", "file": "x.yml"}, "there is no service 'y' in /srv/x.yml"),
        ({"service": "x", "file": "list.yml"}, "the document is not a mapping but a list"),
        ({"service": "x", "file": "loop.yml"}, "a circle: a extends x extends y extends x"),
        ({"service": "$NONE"}, "the variable NONE has no value"),
        ({"file": "x.yml"}, "nothing is not a string"),
        ({"file": 5, "service": "x"}, "'5' is not a string"),
        (5, "'5' is not a string"),
        ("a", "a circle: a extends a"),
        ("d0", f"more than {MAX_DEPTH} services extend each other"),
    ],
)
def test_what_cannot_be_extended_costs_its_own_service(extends: object, message: str) -> None:
    files: dict[str, object] = {
        "x.yml": {"services": {"x": service("2")}},
        "list.yml": [],
        "loop.yml": {"services": {"x": service("3", extends="y"), "y": service("4", extends="x")}},
    }
    deep = {f"d{n}": service(str(n), extends=f"d{n + 1}") for n in range(MAX_DEPTH + 2)}
    project, said = put_together(
        {"services": {"a": service("1", extends=extends), "b": service("2"), **deep}}, files
    )
    problems = [one.problem for one in project.services["a"] if one.problem is not None]
    assert [problem.message for problem in problems] == [message]
    assert project.services["a"][-1].value == service("1", extends=extends)
    assert images(project)["b"] == ["2"]
    assert (said, project.whole) == ([], True)


# --- include


def test_files_are_included() -> None:
    files: dict[str, object] = {
        "a.yml": {"services": {"a": service("1")}, "include": ["sub/b.yml"]},
        "sub/b.yml": {"services": {"b": service("2")}, "include": ["c.yml"]},
        "sub/c.yml": {"include": [{"path": ["d.yml", "e.yml"]}]},
        "sub/d.yml": {"services": {"d": service("4")}},
        "sub/e.yml": {"services": {"d": service("5")}},
    }
    project, said = put_together(
        {"include": ["a.yml"], "services": {"m": service("0")}},
        files,
        overrides=[{"services": {"b": service("9")}}],
    )
    assert images(project) == {"m": ["0"], "a": ["1"], "b": ["2", "9"], "d": ["4", "5"]}
    assert [one.file for one in project.services["d"]] == ["/srv/sub/d.yml", "/srv/sub/e.yml"]
    assert (said, project.whole) == ([], True)


def test_a_file_that_is_included_twice_is_no_conflict() -> None:
    files: dict[str, object] = {
        "a.yml": {"services": {}, "include": ["x.yml"]},
        "b.yml": {"services": {}, "include": ["x.yml"]},
        "x.yml": {"services": {"x": service("1")}},
    }
    project, said = put_together({"include": ["a.yml", "b.yml", "x.yml"]}, files)
    assert (images(project), said) == ({"x": ["1"]}, [])


def test_two_services_of_one_name_are_a_conflict() -> None:
    files: dict[str, object] = {"a.yml": {"services": {"x": service("2"), 5: service("2")}}}
    project, said = put_together(
        {"include": ["a.yml"], "services": {"x": service("1"), 5: service("1")}}, files
    )
    assert images(project) == {"x": ["1"], 5: ["1"]}
    assert said == [
        (
            "SVC011",
            "services.x",
            "the service 'x' is another one in /srv/a.yml, which is included",
        ),
        ("SVC011", "services", "the service '5' is another one in /srv/a.yml, which is included"),
    ]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        (["none.yml"], "there is no none.yml"),
        ([5], "'5' is not a string"),
        ([{"path": []}], "there is no path"),
        ([{}], "nothing is not a string"),
        (["$NONE"], "the variable NONE has no value"),
        (["list.yml"], "/srv/list.yml: the document is not a mapping but a list"),
        ([{"path": "a.yml", "project_directory": 5}], "'5' is not a string"),
        ([{"path": "a.yml", "env_file": "none.env"}], "there is no none.env"),
    ],
)
def test_what_cannot_be_included_costs_no_other(include: object, message: str) -> None:
    files: dict[str, object] = {"a.yml": {"services": {"a": service("1")}}, "list.yml": []}
    project, said = put_together(
        {"include": [*include, "a.yml"], "services": {"m": service("0")}},  # type: ignore[misc]
        files,
    )
    assert images(project) == {"m": ["0"], "a": ["1"]}
    assert not project.whole
    ((code, place, found),) = said
    assert (code, place) == ("SVC010", "include[0]")
    assert found.startswith(message)


def test_include_of_another_kind() -> None:
    project, said = put_together({"include": "a.yml", "services": {}})
    assert not project.whole
    assert said == [("SVC010", "include", "'a.yml' is not a list")]
    assert put_together({"include": Tagged("!reset", None), "services": {}})[1] == []


def test_a_circle_of_includes_is_named() -> None:
    files: dict[str, object] = {
        "a.yml": {"services": {"a": service("1")}, "include": ["b.yml"]},
        "b.yml": {"services": {"b": service("2")}, "include": ["a.yml"]},
    }
    project, said = put_together({"include": ["a.yml"]}, files)
    assert images(project) == {"a": ["1"], "b": ["2"]}
    assert said == [
        (
            "SVC010",
            "/srv/b.yml: include[0]",
            "a circle: main.yml includes /srv/a.yml includes /srv/b.yml includes /srv/a.yml",
        )
    ]


def test_includes_are_bounded_in_depth_and_number() -> None:
    chain: dict[str, object] = {
        f"{n}.yml": {"services": {str(n): service("x")}, "include": [f"{n + 1}.yml"]}
        for n in range(MAX_DEPTH + 2)
    }
    project, said = put_together({"include": ["0.yml"]}, chain)
    assert len(project.services) == MAX_DEPTH
    assert [message for _, _, message in said] == [
        f"more than {MAX_DEPTH} files include each other"
    ]
    # Each includes the next one twice: 2 ** 10 in all.
    doubled: dict[str, object] = {
        f"{n}.yml": {"services": {str(n): service("x")}, "include": [f"{n + 1}.yml"] * 2}
        for n in range(10)
    }
    _, said = put_together({"include": ["0.yml"]}, doubled | {"10.yml": {"services": {}}})
    assert {message for _, _, message in said} == {f"more than {MAX_INCLUDES} files are included"}


def test_a_project_directory_is_where_paths_begin() -> None:
    files: dict[str, object] = {
        "sub/a.yml": {"include": ["b.yml"]},
        "other/b.yml": {"services": {"b": service("1")}},
    }
    entry = {"path": "sub/a.yml", "project_directory": "$DIR"}
    project, said = put_together({"include": [entry]}, files, variables={"DIR": "other"})
    assert (images(project), said) == ({"b": ["1"]}, [])


# --- variables


def test_variables_of_an_included_file() -> None:
    files: dict[str, object] = {
        "sub/a.yml": {"services": {"a": service("$X")}},
        "sub/.env": "X=of sub\nY=of sub",
        "b.yml": {"services": {"b": service("$X")}},
        "one.env": "X=one\nZ=one",
        "two.env": "Z=two $X",
        ".env": "X=mine\nbad line",
    }
    document = {
        "include": ["sub/a.yml", {"path": "b.yml", "env_file": ["one.env", "two.env"]}],
        "services": {"m": service("0")},
    }
    project, said = put_together(document, files, variables={"Y": "given"})
    assert project.services["m"][0].variables == {"Y": "given"}
    assert project.services["a"][0].variables == {"X": "of sub", "Y": "given"}
    assert project.services["b"][0].variables == {"X": "one", "Z": "two one", "Y": "given"}
    assert said == []
    project, said = put_together(document, files, variables={"Y": "given"}, dotenv=True)
    assert project.variables == {"X": "mine", "Y": "given"}
    assert project.services["a"][0].variables == {"X": "mine", "Y": "given"}
    assert project.services["b"][0].variables == {"X": "mine", "Z": "two mine", "Y": "given"}
    assert said == [("SVC106", "/srv/.env:2", "a line is not a NAME=VALUE")]


def test_without_a_dotenv_there_are_no_more_variables() -> None:
    assert put_together({"services": {}}, dotenv=True)[0].variables == {}


def test_a_dotenv_that_cannot_be_read_is_reported() -> None:
    class Unreadable(Texts):
        def text(self, path: str, directory: str) -> ReadFile:
            raise ConfigurationError("is not UTF-8")

    diagnostics = FileDiagnostics("")
    context = ComposeContext(Unreadable({".env": ""}), "/srv", dotenv=True)
    assert assemble({"services": {}}, "", {}, context, diagnostics).variables == {}
    assert [(d.code, d.label, d.message) for d in diagnostics.kept] == [
        ("SVC010", ".env", "is not UTF-8")
    ]
