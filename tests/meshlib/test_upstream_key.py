from __future__ import annotations

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.bounds import MAX_NAME
from meshlib.model import Upstream
from meshlib.upstream_key import Transport, UpstreamKey


def test_the_name_of_a_key_is_its_fields_for_people() -> None:
    tls, both = Transport(tls_name="shop.internal"), Transport("h2c", proxy_protocol="v2")
    keys = {
        UpstreamKey("shop.example.com"): "shop.example.com",
        UpstreamKey("shop", 80): "shop:80",
        UpstreamKey("shop", 80, transport=tls): "shop:80/tls-shop.internal",
        UpstreamKey("shop", 80, transport=both): "shop:80/h2c/proxy-v2",
        UpstreamKey("shop", 80, transport=Transport(lenient=True)): "shop:80/lenient",
        UpstreamKey("shop", 80, "swarm", both): "shop:80/h2c/proxy-v2@swarm",
        UpstreamKey("blog", 80, "", both, (UpstreamKey("shop", 80, "", both),)): (
            "blog:80/h2c/proxy-v2+shop:80/h2c/proxy-v2"
        ),
    }
    assert [str(key) for key in keys] == list(keys.values())
    upstream = Upstream(UpstreamKey("shop", 80, transport=tls))
    assert (upstream.name, upstream.transport) == ("shop:80/tls-shop.internal", tls)
    # No service can call itself as merged ones, or those of another provider, are called.
    assert [UpstreamKey(service, 80).name for service in ("a:80+b", "a%2Bb", "a@b")] == [
        "a:80%2Bb:80",
        "a%252Bb:80",
        "a%40b:80",
    ]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (UpstreamKey("shop:80"), "shop%3A80"),
        (UpstreamKey("shop:80", 81), "shop:80:81"),
        (UpstreamKey("tcp://:5432"), "tcp://:5432"),
        (UpstreamKey("tcp://", 5432), "tcp:/%2F:5432"),
        (UpstreamKey("shop/h2c"), "shop%2Fh2c"),
        (UpstreamKey("shop/lenient"), "shop%2Flenient"),
        (UpstreamKey("shop/proxy-v1", transport=Transport("h2c")), "shop%2Fproxy-v1/h2c"),
        (UpstreamKey("shop/h2c", 80), "shop/h2c:80"),
        (UpstreamKey("shop/api"), "shop/api"),
        (UpstreamKey("shop", transport=Transport(tls_name="a/h2c@b")), "shop/tls-a%2Fh2c%40b"),
        (UpstreamKey("shop", provider="a@b+c%"), "shop@a@b%2Bc%25"),
    ],
)
def test_what_reads_like_another_part_of_the_name_is_encoded(key: UpstreamKey, name: str) -> None:
    assert key.name == name


_PIECES = st.sampled_from(
    [
        *"a:/@+%8",
        ":80",
        "://",
        "/h2c",
        "/proxy-v1",
        "/lenient",
        "/tls-",
        "/tls-a",
        "%3A",
        "%2F",
        "@q",
        "\n",
    ]
)
_TEXTS = st.lists(_PIECES, max_size=4).map("".join)
_TRANSPORTS = st.builds(
    Transport,
    st.sampled_from(["", "h2c"]),
    _TEXTS,
    st.sampled_from(["", "v1", "v2"]),
    st.booleans(),
)
_KEYS = st.builds(UpstreamKey, _TEXTS, st.sampled_from([None, 8, 80]), _TEXTS, _TRANSPORTS)


@given(st.lists(_KEYS, min_size=2, max_size=8))
def test_no_two_keys_have_one_name(keys: list[UpstreamKey]) -> None:
    every = {*keys, *(UpstreamKey.merged(pair) for pair in itertools.pairwise(keys))}
    assert len({key.name for key in every}) == len(every)


def test_keys_are_compared_by_value() -> None:
    key = UpstreamKey("shop", 80, beside=(UpstreamKey("blog", 80),))
    same = UpstreamKey("shop", 80, beside=(UpstreamKey("blog", 80),))
    assert (key, hash(key)) == (same, hash(same))
    assert key != UpstreamKey("shop", 80) != UpstreamKey("shop", 81)
    assert {same: 1}[key] == 1


def test_a_key_goes_to_another_process_without_its_hash() -> None:
    # There texts have other hashes.
    key = UpstreamKey("shop", 80, "swarm", Transport("h2c"), (UpstreamKey("zoo", 80),))
    rebuilt, fields = key.__reduce__()
    assert (rebuilt, fields) == (
        UpstreamKey,
        ("shop", 80, "swarm", Transport("h2c"), (UpstreamKey("zoo", 80),)),
    )
    there = pickle.loads(pickle.dumps(key))
    assert (there, hash(there), there.name) == (key, hash(key), key.name)


def test_a_merged_key_is_that_of_its_first_service_with_the_others_beside_it() -> None:
    a, b, c = (UpstreamKey(service, 80) for service in "abc")
    merged = UpstreamKey.merged([c, UpstreamKey.merged([b, a]), b])
    assert merged == UpstreamKey("a", 80, beside=(b, c))
    assert merged == UpstreamKey.merged([b, c, a])
    assert merged.name == "a:80+b:80+c:80"
    assert UpstreamKey.merged([a]) == a


def test_the_name_of_very_many_services_says_some_of_them() -> None:
    merged = UpstreamKey.merged(UpstreamKey(f"service-{n:03}", 80) for n in range(100))
    assert len(merged.name) <= MAX_NAME
    assert merged.name.startswith("service-000:80+service-001:80+service-002:80+97 more (")
    other = UpstreamKey.merged(UpstreamKey(f"service-{n:03}", 80) for n in range(1, 101))
    assert other.name != merged.name
    two = UpstreamKey.merged([UpstreamKey("a" * 400, 80), UpstreamKey("b" * 400, 80)])
    assert len(two.name) <= MAX_NAME
    assert "+0 more (" in two.name


def test_keys_beside_another_have_none_beside_them() -> None:
    with pytest.raises(ValueError, match="has keys beside it"):
        UpstreamKey("a", beside=(UpstreamKey("b", beside=(UpstreamKey("c"),)),))
