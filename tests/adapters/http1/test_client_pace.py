"""Who is too slow with a body, told from look to look."""

from __future__ import annotations

from meshlib_adapters.http1.client_pace import ClientPace


def sends(pace: ClientPace, *looks: tuple[int | None, float, int, bool]) -> list[bool]:
    return [
        pace.sends_too_slowly(size, now, sent, responding=responding)
        for size, now, sent, responding in looks
    ]


def test_an_upload_that_stops_is_too_slow_after_the_grace() -> None:
    looks = [(10, 0.0, 0, False), (10, 1.0, 0, False), (10, 5.0, 0, False)]
    assert sends(ClientPace(100, 5.0), *looks) == [False, False, True]


def test_an_upload_at_the_rate_is_not() -> None:
    looks = [(100 * at, float(at), 0, False) for at in range(1, 20)]
    assert not any(sends(ClientPace(100, 5.0), *looks))


def test_nothing_is_judged_without_a_body_or_before_it_begins() -> None:
    looks = [(None, float(at), 0, False) for at in range(20)] + [
        (0, float(at), 0, False) for at in range(20, 40)
    ]
    assert not any(sends(ClientPace(100, 5.0), *looks))


def test_a_conversation_is_no_upload() -> None:
    """Both sides send a little now and then."""
    looks = [(10 + at, float(at * 6), at, True) for at in range(10)]
    assert not any(sends(ClientPace(100, 5.0), *looks))


def test_whoever_had_to_wait_is_judged_anew() -> None:
    pace = ClientPace(100, 5.0)
    assert sends(pace, (10, 0.0, 0, False)) == [False]
    pace.forget_upload()
    assert sends(pace, (10, 6.0, 0, False), (10, 12.0, 0, False)) == [False, True]


def test_a_reader_that_stops_is_too_slow_after_the_grace() -> None:
    pace = ClientPace(100, 5.0)
    assert not pace.takes_too_slowly(0, 0.0, 5000)
    assert not pace.takes_too_slowly(50, 1.0, 4950)
    assert pace.takes_too_slowly(60, 6.0, 4940)


def test_a_reader_that_has_taken_all_is_not() -> None:
    pace = ClientPace(100, 5.0)
    assert not pace.takes_too_slowly(0, 0.0, 5000)
    assert not pace.takes_too_slowly(5000, 60.0, 0)
    assert not pace.takes_too_slowly(5000, 61.0, 10)


def test_forgotten_with_the_client() -> None:
    pace = ClientPace(100, 5.0)
    pace.takes_too_slowly(0, 0.0, 5000)
    sends(pace, (10, 0.0, 0, False))
    pace.forget()
    assert not pace.takes_too_slowly(0, 100.0, 5000)
    assert sends(pace, (10, 100.0, 0, False)) == [False]


def test_without_a_rate_nobody_is_too_slow() -> None:
    pace = ClientPace(None, 5.0)
    assert not any(sends(pace, *[(1, at * 100.0, 0, False) for at in range(5)]))
    assert not any(pace.takes_too_slowly(0, at * 100.0, 50) for at in range(5))
