"""The static provider: a file is read, watched, and a bad one never takes the routes away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib_adapters.providers.file import FileProvider

DOCUMENT = """\
services:
  {name}:
    labels: {{com.docker.ucp.mesh.http.80: "external_route=http://{name}.example.com,internal_port=8080"}}
    endpoints: ["10.0.0.5"]
"""


def document(name: str) -> str:
    return DOCUMENT.format(name=name)


def hosts(snapshot: Snapshot) -> list[str]:
    return [route.host for route in snapshot.routes]


async def following(snapshots: AsyncIterator[Snapshot]) -> Snapshot:
    with anyio.fail_after(20):
        return await anext(snapshots)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


def in_place(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def by_rename(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def by_link(path: Path, text: str) -> None:
    """As Kubernetes and Docker configs do it: a link to a directory is swapped."""
    target = path.parent / f"v{len(list(path.parent.iterdir()))}.yml"
    target.write_text(text, encoding="utf-8")
    link = path.with_suffix(".link")
    link.symlink_to(target)
    os.replace(link, path)


def tell(
    story: Callable[[FileProvider, AsyncIterator[Snapshot]], Awaitable[None]], path: Path
) -> None:
    async def run() -> None:
        provider = FileProvider(path, poll=0.01)
        snapshots = provider.snapshots()
        await story(provider, snapshots)

    anyio.run(run)


@pytest.mark.parametrize("write", [in_place, by_rename, by_link])
def test_changes_are_seen_however_they_are_written(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "services.yml"
    write(path, document("one"))

    async def story(provider: FileProvider, snapshots: AsyncIterator[Snapshot]) -> None:
        assert repr(provider).endswith("starting>")
        assert hosts(await following(snapshots)) == ["one.example.com"]
        assert provider.status.state == "ok"
        for name in ("two", "six", "ten"):  # same size, at once
            write(path, document(name))
            assert hosts(await following(snapshots)) == [f"{name}.example.com"]

    tell(story, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: [", ":1:"),
        ("services: {a: 1, a: 2}", "twice"),
        ("", "is empty"),
        ("- not\n- a mapping", "services.yml"),
    ],
)
def test_the_last_good_document_stands(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "services.yml"
    in_place(path, document("one"))

    async def story(provider: FileProvider, snapshots: AsyncIterator[Snapshot]) -> None:
        await following(snapshots)
        served = provider.status.last_success
        in_place(path, text)
        async with anyio.create_task_group() as group:
            arrived: list[Snapshot] = []

            async def collect() -> None:
                arrived.append(await following(snapshots))

            group.start_soon(collect)
            await until(lambda: provider.status.state == "degraded")
            assert said in provider.status.reason
            assert str(path) in provider.status.reason
            assert provider.status.last_success is not None
            assert served is not None
            assert provider.status.last_success >= served
            assert not arrived
            in_place(path, document("two"))
        assert [hosts(snapshot) for snapshot in arrived] == [["two.example.com"]]
        assert (provider.status.state, provider.status.reason) == ("ok", "")

    tell(story, path)


def test_a_file_that_comes_goes_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"

    async def story(provider: FileProvider, snapshots: AsyncIterator[Snapshot]) -> None:
        arrived: list[Snapshot] = []

        async def collect() -> None:
            async for snapshot in snapshots:
                arrived.append(snapshot)

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await until(lambda: provider.status.state == "degraded")
            assert provider.status.last_success is None
            assert "cannot be read: No such file" in provider.status.reason
            in_place(path, document("one"))
            await until(lambda: provider.status.state == "ok")
            path.unlink()
            await until(lambda: provider.status.state == "degraded")
            in_place(path, document("one"))
            await until(lambda: provider.status.state == "ok")
            group.cancel_scope.cancel()
        assert len(arrived) == 1  # what came back was what stood all the time

    tell(story, path)


def test_an_unchanged_file_yields_nothing_and_counts_as_known(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    in_place(path, document("one"))

    async def story(provider: FileProvider, snapshots: AsyncIterator[Snapshot]) -> None:
        await following(snapshots)
        first = provider.status.last_success
        with anyio.move_on_after(0.3) as scope:
            await anext(snapshots)
        assert scope.cancelled_caught
        assert first is not None
        assert provider.status.last_success is not None
        assert provider.status.last_success > first

    tell(story, path)


def test_a_label_that_is_wrong_at_the_start_keeps_the_route_of_an_earlier_run(
    tmp_path: Path,
) -> None:
    async def first(text: str, remembered: Snapshot | None = None) -> Snapshot:
        (tmp_path / "services.yml").write_text(text)
        provider = FileProvider(tmp_path / "services.yml")
        if remembered is not None:
            provider.remember(remembered)
        return await anext(provider.snapshots())

    good = document("shop")
    wrong = good.replace("external_route=http://", "external_route=gopher://")
    assert good != wrong
    before = anyio.run(first, good)
    assert anyio.run(first, wrong).routes == ()
    (kept,) = anyio.run(first, wrong, before).routes
    assert (kept.host, kept.degraded) == (before.routes[0].host, True)
    assert anyio.run(first, good, before) == before


def test_refresh_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    in_place(path, document("one"))

    async def story() -> None:
        provider = FileProvider(path, poll=3600)
        snapshots = provider.snapshots()
        await following(snapshots)
        in_place(path, document("two"))
        provider.refresh()
        assert hosts(await following(snapshots)) == ["two.example.com"]

    anyio.run(story)


def test_the_provider_shows_its_file_and_state() -> None:
    assert repr(FileProvider("a.yml")) == "<FileProvider a.yml starting>"
    assert FileProvider(["a.yml", Path("b.yml")]).name == "static:a.yml:b.yml"


@pytest.mark.parametrize("path", [3, None, "", [], ["a.yml", 3], b"a.yml", {"a.yml": 1}, "a\0b"])
def test_what_is_no_path_is_refused_at_once(path: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FileProvider(path)
    assert "is not the path of a file" in caught.value.message
    assert caught.value.hint.startswith('write FileProvider("compose.yml")')


COMPOSED = """\
services:
  shop:
    image: example/shop:1
    labels: {com.docker.ucp.mesh.http.80: "external_route=http://${DOMAIN},internal_port=${PORT:-8080}"}
    endpoints: ["10.0.0.5"]
"""


def test_the_environment_gives_no_value_that_was_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        path = tmp_path / "stack.yml"
        path.write_text(COMPOSED)
        monkeypatch.setenv("DOMAIN", "secret.example.com")
        monkeypatch.setenv("PORT", "1234")
        snapshot = await following(FileProvider(path, poll=0.01).snapshots())
        assert snapshot.routes == ()
        (said,) = snapshot.diagnostics
        assert (said.code, said.service, said.label) == (
            "SVC006",
            "shop",
            "services.shop.labels.com.docker.ucp.mesh.http.80",
        )
        assert said.message == "the variable DOMAIN has no value"
        assert "compose.variables" in said.hint
        assert "secret" not in repr(snapshot)

    asyncio.run(story())


def test_variables_come_from_files_which_are_watched(tmp_path: Path) -> None:
    async def story() -> None:
        path, one, two = (tmp_path / name for name in ("stack.yml", "one.env", "two.env"))
        path.write_text(COMPOSED)
        one.write_text("DOMAIN=one.example.com\nPORT=9000\n")
        two.write_text("# nothing yet\n")
        provider = FileProvider(path, poll=0.01, variables={"PORT": "9001"}, env_files=[one, two])
        snapshots = provider.snapshots()
        snapshot = await following(snapshots)
        assert [(r.host, r.upstream and r.upstream.key.port) for r in snapshot.routes] == [
            ("one.example.com", 9001)
        ]
        two.write_text("DOMAIN=two.example.com\n")
        assert hosts(await following(snapshots)) == ["two.example.com"]
        two.write_text("DOMAIN two.example.com\n")
        reading = asyncio.create_task(following(snapshots))
        await until(lambda: provider.status.state == "degraded")
        assert provider.status.reason.startswith(f"{two}:1: a line is not a NAME=VALUE")
        two.write_bytes(b"\xff")
        await until(lambda: provider.status.reason == f"{two}: is not UTF-8")
        two.unlink()
        await until(
            lambda: provider.status.reason == f"{two} cannot be read: No such file or directory"
        )
        two.write_text("DOMAIN=new.example.com\n")
        assert hosts(await reading) == ["new.example.com"]

    asyncio.run(story())


def routed(name: str, **more: str) -> str:
    label = f"com.docker.ucp.mesh.http=external_route=http://{name},internal_port=80"
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f'services: {{{name}: {{image: x, labels: ["{label}"]{rest}}}}}\n'


def test_files_of_one_project_are_laid_over_each_other_and_watched(tmp_path: Path) -> None:
    async def story() -> None:
        base, over = tmp_path / "base.yml", tmp_path / "over" / "prod.yml"
        over.parent.mkdir()
        base.write_text(routed("shop") + "include: [more.yml]\n")
        over.write_text("services: {shop: {labels: {x: $$}, label_file: shop.labels}}\n")
        (tmp_path / "more.yml").write_text(routed("more"))
        (tmp_path / "shop.labels").write_text(
            "com.docker.ucp.mesh.http.2=external_route=http://$DOMAIN,internal_port=80\n"
        )
        provider = FileProvider([base, over], poll=0.01)
        snapshots = provider.snapshots()
        assert hosts(await following(snapshots)) == ["more", "shop"]
        (tmp_path / ".env").write_text("DOMAIN=a.example\n")  # comes, and is seen
        assert hosts(await following(snapshots)) == ["more", "shop", "a.example"]
        (tmp_path / "more.yml").write_text(routed("else"))
        assert hosts(await following(snapshots)) == ["else", "shop", "a.example"]
        (tmp_path / "more.yml").unlink()
        snapshot = await following(snapshots)
        assert [(route.host, route.degraded) for route in snapshot.routes] == [
            ("else", True),
            ("shop", False),
            ("a.example", False),
        ]
        assert provider.status.state == "ok"
        ((code, place),) = {(d.code, d.label) for d in snapshot.diagnostics}
        assert (code, place) == ("SVC010", "include[0]")
        over.write_text("services: {shop: !reset null}\n")
        snapshot = await following(snapshots)
        assert [(route.host, route.degraded) for route in snapshot.routes] == [("else", True)]
        over.write_text("services: [\n")
        await until_degraded(provider, snapshots)
        assert provider.status.reason.startswith(f"{over}:2:1: ")

    asyncio.run(story())


async def until_degraded(provider: FileProvider, snapshots: AsyncIterator[Snapshot]) -> None:
    reading = asyncio.create_task(following(snapshots))
    await until(lambda: provider.status.state == "degraded")
    reading.cancel()


def test_a_directory_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    async def story() -> None:
        provider = FileProvider(tmp_path, poll=0.01, profiles=["a"])
        snapshots = provider.snapshots()
        reading = asyncio.create_task(following(snapshots))
        await until(lambda: provider.status.state == "degraded")
        assert provider.status.reason == (
            f"{tmp_path}: there is no Compose file in the directory "
            "(name the file, or call it compose.yaml)"
        )
        (tmp_path / "docker-compose.yml").write_text(routed("one", profiles="[a]"))
        assert hosts(await reading) == ["one"]
        (tmp_path / "compose.yml").write_text(routed("two", profiles="[b]") + "name: x\n")
        assert hosts(await following(snapshots)) == []
        (tmp_path / "compose.override.yml").write_text(
            routed("three").replace("services: {", "services: {two: {profiles: !reset []}, ")
        )
        assert hosts(await following(snapshots)) == ["three", "two"]

    asyncio.run(story())


def test_files_with_variables_refer_to_each_other(tmp_path: Path) -> None:
    async def story() -> None:
        path, one, two = (tmp_path / name for name in ("stack.yml", "one.env", "two.env"))
        path.write_text(COMPOSED)
        (tmp_path / ".env").write_text("DOMAIN=unused\n")
        one.write_text("BASE=example.com\n")
        two.write_text("DOMAIN=shop.${BASE}\n")
        provider = FileProvider(path, poll=0.01, env_files=[one, two])
        assert hosts(await following(provider.snapshots())) == ["shop.example.com"]

    asyncio.run(story())


def test_a_circle_of_files_names_them(tmp_path: Path) -> None:
    async def story() -> None:
        path, more = tmp_path / "stack.yml", tmp_path / "more.yml"
        path.write_text("include: [more.yml]\n" + routed("shop"))
        more.write_text("include: [stack.yml]\n" + routed("more"))
        snapshot = await following(FileProvider(path).snapshots())
        assert hosts(snapshot) == ["more", "shop"]
        (diagnostic,) = snapshot.diagnostics
        assert (diagnostic.code, diagnostic.label) == ("SVC010", f"{more}: include[0]")
        assert diagnostic.message == f"a circle: {path} includes {more} includes {path}"

    asyncio.run(story())


def test_a_file_outside_is_not_read(tmp_path: Path) -> None:
    async def story() -> None:
        path, more = tmp_path / "stack.yml", tmp_path / "more.yml"
        path.write_text("include: [more.yml]\nservices: {}\n")
        more.symlink_to(tmp_path.parent / "outside.yml")
        (tmp_path.parent / "outside.yml").write_text(routed("outside"))
        provider = FileProvider(path, poll=0.01)
        snapshots = provider.snapshots()
        snapshot = await following(snapshots)
        assert hosts(snapshot) == []
        (diagnostic,) = snapshot.diagnostics
        assert diagnostic.code == "SVC010"
        assert f"'more.yml' is outside {tmp_path}" in diagnostic.message
        more.unlink()
        more.write_text(routed("inside"))
        assert hosts(await following(snapshots)) == ["inside"]

    asyncio.run(story())
