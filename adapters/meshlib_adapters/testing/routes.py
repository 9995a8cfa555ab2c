"""Routes of a mesh against a table of what is expected: `assert_routes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from meshlib.decision import Decision, Forward, Redirect, Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule
from meshlib.table import Explanation

__all__ = ["Expected", "assert_routes"]

# What a request is to become: the service, its ready addresses in any order, a redirect or where it
# leads ("https://..."), or the status of a response of the mesh's own.
Expected: TypeAlias = str | Sequence[str] | RedirectRule | int

_SHOWN = 10


def assert_routes(mesh: Mesh, expected: Mapping[str, Expected]) -> None:
    """Check what a mesh decides about requests; nothing is opened.

        assert_routes(mesh, {
            "https://shop.example.com/cart": "shop",                      # a service
            "POST https://api.example.com/v1": ["10.0.0.7:80"],           # its endpoints
            "http://old.example.com/a": "https://shop.example.com/a",     # where a redirect leads
            "http://new.example.com/": meshlib.redirect("https://shop.example.com", 308),
            "http://nobody.example.com/": 404,                            # a response of our own
        })

    A key is a URL, with a method before it unless that is GET. A service is named as in its labels'
    service, or as `Service(name=...)`; one in code without a name is its entry. Raises
    AssertionError that tells all that is otherwise, what was decided, and why;
    `ConfigurationError` for a key that is no request.
    """
    __tracebackhide__ = True
    wrong = [
        text for request, wanted in expected.items() if (text := _difference(mesh, request, wanted))
    ]
    if wrong:
        count = f"{len(wrong)} of {len(expected)} requests"
        raise AssertionError(f"{count} are not routed as expected\n\n" + "\n\n".join(wrong))


def _difference(mesh: Mesh, request: str, wanted: Expected) -> str:
    method, _, url = request.rpartition(" ")
    explanation = mesh.explain(method or "GET", url)
    decision = explanation.decision
    assert isinstance(decision, Forward | Redirect | Respond)
    if _fits(decision, explanation, wanted):
        return ""
    lines = [
        request,
        f"  expected: {_told(wanted)}",
        f"  decided:  {_decided(decision, explanation)}",
        *(f"  {note}" for note in explanation.notes),
    ]
    for reason in explanation.reasons[:_SHOWN]:
        lines.append(f"  {reason.route.name} {'wins' if reason.won else 'loses'}: {reason.text}")
    if len(explanation.reasons) > _SHOWN:
        lines.append(f"  ... and {len(explanation.reasons) - _SHOWN} more candidates")
    if isinstance(decision, Respond):
        for found in mesh.diagnostics[:_SHOWN]:
            lines.append(f"  {found.code} {found.service}: {found.message} ({found.hint})")
    return "\n".join(lines)


def _fits(decision: Decision, explanation: Explanation, wanted: Expected) -> bool:
    if isinstance(wanted, bool):
        raise _mistake(wanted)
    if isinstance(wanted, int):
        return isinstance(decision, Respond) and decision.status == wanted
    if isinstance(wanted, RedirectRule):
        return isinstance(decision, Redirect) and decision.rule == wanted
    if isinstance(wanted, str) and "://" in wanted:
        return isinstance(decision, Redirect) and explanation.location == wanted
    if isinstance(wanted, str):
        return isinstance(decision, Forward) and decision.route.service == wanted
    if not isinstance(wanted, Sequence):
        raise _mistake(wanted)
    return isinstance(decision, Forward) and sorted(_addresses(decision)) == sorted(wanted)


def _mistake(wanted: object) -> ConfigurationError:
    hint = "write a service, addresses, a redirect, a URL or a status"
    return ConfigurationError(
        f"{wanted!r} is nothing that a request becomes", where="assert_routes", hint=hint
    )


def _addresses(decision: Forward) -> list[str]:
    return [endpoint.address for endpoint in decision.upstream.ready]


def _told(wanted: Expected) -> str:
    if isinstance(wanted, int):
        return f"respond with {wanted}"
    if isinstance(wanted, RedirectRule):
        return _redirect(wanted)
    if isinstance(wanted, str):
        return f"redirect to {wanted}" if "://" in wanted else f"forward to {wanted}"
    return f"forward to {', '.join(sorted(wanted))}"


def _redirect(rule: RedirectRule) -> str:
    path = "" if rule.keep_path else ", without the path"
    return f"redirect to {rule.target} with {rule.status}{path}"


def _decided(decision: Decision, explanation: Explanation) -> str:
    match decision:
        case Forward():
            addresses = ", ".join(sorted(_addresses(decision)))
            return f"forward to {decision.route.service} ({addresses})"
        case Redirect(rule=rule):
            return f"{_redirect(rule)}, here {explanation.location}"
        case Respond(status=status, reason=reason):
            return f"respond with {status} ({reason})"
