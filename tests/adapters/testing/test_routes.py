"""Routes against a table: what fits, and how a difference is told."""

from __future__ import annotations

from typing import Any

import pytest

import meshlib
from meshlib_adapters.testing import assert_routes

MESH = meshlib.Mesh(
    {
        "shop.example.com": meshlib.Service(["10.0.0.6:80", "10.0.0.5:80"], name="shop"),
        "shop.example.com/api": ["10.0.0.7:80"],
        "empty.example.com": [],
        "old.example.com": meshlib.redirect("https://shop.example.com", 308),
        "safe.example.com": meshlib.Service(["10.0.0.8:80"], https_only=True),
    }
)
LABELS = {"com.docker.ucp.mesh.http.80": "external_rout=http://a.example.com,internal_port=80"}


def failure(mesh: meshlib.Mesh, expected: dict[str, Any]) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_routes(mesh, expected)
    return str(caught.value)


def test_everything_that_a_request_may_become() -> None:
    assert_routes(
        MESH,
        {
            "https://shop.example.com/cart": "shop",
            "POST http://shop.example.com/": ["10.0.0.5:80", "10.0.0.6:80"],
            "http://shop.example.com/api/x": "shop.example.com/api",
            "http://empty.example.com/": 503,
            "http://old.example.com/a?b": "https://shop.example.com/a?b",
            "HEAD http://old.example.com/": meshlib.redirect("https://shop.example.com", 308),
            "http://safe.example.com/a": "https://safe.example.com/a",
            "https://safe.example.com/a": ("10.0.0.8:80",),
            "http://nobody.example.com/": 404,
        },
    )


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ("http://shop.example.com/", "other"),
        ("http://shop.example.com/", ["10.0.0.5:80"]),
        ("http://shop.example.com/", 404),
        ("http://shop.example.com/", "https://shop.example.com/"),
        ("http://old.example.com/", meshlib.redirect("https://shop.example.com")),
        ("http://old.example.com/", "https://shop.example.com/other"),
        ("http://old.example.com/", "shop"),
        ("http://old.example.com/", 308),
        ("http://empty.example.com/", "empty.example.com"),
        ("http://empty.example.com/", 404),
    ],
)
def test_everything_else_is_a_difference(request_: str, wanted: Any) -> None:
    assert "1 of 1 requests are not routed as expected" in failure(MESH, {request_: wanted})


def test_a_difference_says_what_was_decided_and_why() -> None:
    text = failure(
        MESH,
        {
            "http://shop.example.com/api": "shop",
            "http://shop.example.com/": "shop",
            "http://old.example.com/a": meshlib.redirect("https://shop.example.com", 301, False),
            "http://shop.example.com/b": 404,
            "http://shop.example.com/c": "https://elsewhere.example.com/",
            "http://shop.example.com/d": ["10.0.0.9:80", "10.0.0.8:80"],
        },
    )
    head, *parts = text.split("\n\n")
    assert head == "5 of 6 requests are not routed as expected"
    assert parts[0].splitlines() == [
        "http://shop.example.com/api",
        "  expected: forward to shop",
        "  decided:  forward to shop.example.com/api (10.0.0.7:80)",
        "  host shop.example.com, path /api",
        "  http://shop.example.com/api wins: "
        "host shop.example.com and path /api are the most specific that match",
        "  http://shop.example.com loses: path / is shorter than /api",
    ]
    told = [part.splitlines()[1:3] for part in parts[1:]]
    assert told == [
        [
            "  expected: redirect to https://shop.example.com with 301, without the path",
            "  decided:  redirect to https://shop.example.com with 308, "
            "here https://shop.example.com/a",
        ],
        ["  expected: respond with 404", "  decided:  forward to shop (10.0.0.5:80, 10.0.0.6:80)"],
        [
            "  expected: redirect to https://elsewhere.example.com/",
            "  decided:  forward to shop (10.0.0.5:80, 10.0.0.6:80)",
        ],
        [
            "  expected: forward to 10.0.0.8:80, 10.0.0.9:80",
            "  decided:  forward to shop (10.0.0.5:80, 10.0.0.6:80)",
        ],
    ]


def test_a_request_without_a_route_shows_the_mistakes_in_labels() -> None:
    mesh = meshlib.Mesh.from_labels(LABELS, ["10.0.0.5"], service="shop")
    text = failure(mesh, {"http://a.example.com/": "shop"})
    assert "decided:  respond with 404 (no_route)" in text
    assert "HRM001 shop: " in text
    assert "(did you mean external_route?)" in text


def test_of_many_candidates_some_are_shown() -> None:
    mesh = meshlib.Mesh({f"a.example.com/{n}": ["10.0.0.5:80"] for n in range(15)})
    assert "... and 5 more candidates" in failure(mesh, {"http://a.example.com/x": "a"})


@pytest.mark.parametrize("wanted", [None, True, 1.5])
def test_what_no_request_becomes_is_a_mistake(wanted: Any) -> None:
    with pytest.raises(meshlib.ConfigurationError, match="nothing that a request becomes"):
        assert_routes(MESH, {"http://shop.example.com/": wanted})


def test_a_key_that_is_no_request_is_a_mistake() -> None:
    with pytest.raises(meshlib.ConfigurationError):
        assert_routes(MESH, {"shop.example.com": "shop"})
