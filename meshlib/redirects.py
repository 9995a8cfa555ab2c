"""Location of a redirect, from its rule and the target of a request (RFC 9110 10.2.2), and whether
that is where the request came to already. Pure; knows no routes.
"""

from __future__ import annotations

import re

from meshlib.authority import host_of, parse_authority
from meshlib.escapes import equivalent
from meshlib.model import HostPath, Match, RedirectRule
from meshlib.patterns import host_matches

__all__ = ["is_for_plain", "leads_to_request", "leads_to_tls", "location", "may_return"]

_OWN_PATH = re.compile(rb"[/?#]")
# Characters that cannot be in a field or a URI (controls, space, `"<>\^`{|}`, eight-bit bytes), and
# those that a browser reads differently: a backslash is a slash to it. Percent signs stay: encoded
# text stays as it is.
_UNSAFE = re.compile(rb"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


def location(rule: RedirectRule, target: bytes) -> bytes:
    """The Location for a request with this target (origin-form, or "*").

    With `keep_path`, path and query of the request follow the rule's host unchanged, when the rule
    has no path of its own ("/" alone is none); otherwise the rule's target stands alone. The
    authority is always the rule's, whatever the request's path looks like, and no byte that could
    end the field gets in. A target that is not a path counts as "/".
    """
    base = rule.target.encode()
    if rule.keep_path:
        own = _OWN_PATH.search(base, base.find(b"://") + 3)
        if own is None or base[own.start() :] == b"/":
            path = target.replace(b"#", b"%23") if target.startswith(b"/") else b"/"
            base = (base if own is None else base[:-1]) + path
    return _UNSAFE.sub(_escape, base)


def leads_to_tls(host: str, rule: RedirectRule) -> bool:
    """Whether the rule of a route for exactly `host` (normal form) leads each request to the same
    host and path over https, whatever the port.
    """
    scheme, name, _, path = _parts(rule.target.encode())
    return scheme == b"https" and rule.keep_path and path in (b"", b"/") and name == host


def is_for_plain(match: Match, action: object) -> bool:
    """Whether the action of a route is a redirect of its host to itself over https: it is for
    requests without TLS, so another route of the same match may serve those over TLS.
    """
    return (
        isinstance(match, HostPath)
        and isinstance(action, RedirectRule)
        and leads_to_tls(match.host, action)
    )


def may_return(pattern: str, rule: RedirectRule) -> bool:
    """Whether the rule of a route for the hosts of `pattern` can lead to one of these."""
    return host_matches(pattern, _parts(rule.target.encode())[1])


def leads_to_request(rule: RedirectRule, authority: bytes, target: bytes, *, secure: bool) -> bool:
    """Whether the rule leads a request to just where it came: to its scheme (https: `secure`),
    host, path and query, in normal form.

    The port counts without TLS only: where TLS ends at a proxy, nobody knows the client's. An
    `authority` that names no host raises `AuthorityError`.
    """
    scheme, name, port, place = _parts(location(rule, target))
    if (scheme == b"https") is not secure or name != host_of(authority):
        return False
    if not secure and port != (parse_authority(authority.decode("latin-1")).port or 80):
        return False
    there, _, wanted = place.partition(b"?")
    path, _, query = _UNSAFE.sub(_escape, target).partition(b"?")
    return (equivalent(there or b"/"), wanted) == (equivalent(path), query)


def _parts(url: bytes) -> tuple[bytes, str, int, bytes]:
    """Scheme, host (normal form) and port of the URL of a rule; path and query."""
    scheme, _, rest = url.partition(b"#")[0].partition(b"://")
    end = _OWN_PATH.search(rest)
    at = end.start() if end is not None else len(rest)
    host, port = parse_authority(rest[:at].decode("ascii"))
    return scheme, host, port or (443 if scheme == b"https" else 80), rest[at:]


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
