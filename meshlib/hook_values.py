"""Values that hooks see and return: a `Request` comes in; `Changes`, a `Response` or a decision go
out.

Pure, and checked where they are made: a name or a value that no field may have is a
`ConfigurationError` in the hook's own line, so nothing that a hook makes reads as another field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from meshlib.client_claims import ForwardingPolicy, Peer, client_address, is_secure
from meshlib.decision import Decision, Respond
from meshlib.errors import ConfigurationError
from meshlib.messages import RequestHead

__all__ = ["Changes", "Fields", "Pairs", "Request", "Response"]

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]
# Fields as a hook writes them: by name, or pairs where a name occurs twice.
Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HINT: Final = 'write a name and a text, {"X-User": "anna"}'

# They say how long a message is and what the connection does, which is the gateway's own affair.
_FRAMING: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Claims that the gateway writes itself (`ForwardingPolicy`).
_OURS: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-request-id",
    }
)
# A response of another status has no body, or none of this length.
_BODILESS: Final = frozenset({204, 304})


class Request:
    """A request as hooks see it, from the first one to the last.

    `head` is the client's, without the fields that hooks before have taken out, and `added` are the
    fields that they have put in. `decision` is where the request would go now, `client` the other
    end of its connection. `state` is a place for hooks to leave something for those behind them.
    """

    __slots__ = ("_decide", "_policy", "added", "client", "decision", "head", "state")

    def __init__(
        self,
        head: RequestHead,
        client: Peer,
        decision: Decision,
        policy: ForwardingPolicy | None = None,
        decide: Callable[[RequestHead], Decision] | None = None,
    ) -> None:
        self._decide = decide
        self.head = head
        self.client = client
        self.decision = decision
        self.added: Pairs = ()
        self.state: dict[str, object] = {}
        self._policy = policy or ForwardingPolicy()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.host}{self.path}>"

    @property
    def method(self) -> str:
        """The method: "GET"."""
        return self.head.method.decode("latin-1")

    @property
    def host(self) -> str:
        """The host that was asked for, with its port if there is one; "" in HTTP/1.0."""
        return self.head.authority.decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query, as the client sent them."""
        return self.head.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The target without its query, as the client sent it: nothing is decoded."""
        return self.target.partition("?")[0]

    @property
    def address(self) -> str:
        """IP address of the client: behind trusted proxies the one that these claim, "" where the
        claim cannot be read, as `client_claims.client_address`.
        """
        return client_address(self.head.fields, self.client, self._policy)

    @property
    def secure(self) -> bool:
        """Whether the client used TLS, as `client_claims.is_secure`."""
        return is_secure(self.head.fields, self.client)

    def at(self, host: str) -> Decision:
        """The decision for this request if it had asked for `host`: what a hook returns to send it
        there. The endpoint still sees the host that the client asked for.
        """
        if self._decide is None:
            return Respond(404, "no_route")
        return self._decide(self.head._replace(authority=host.encode("ascii", "replace")))

    def field(self, name: str) -> str | None:
        """The first value of the field `name` in any case, one that a hook has added before others;
        None when absent.
        """
        wanted = name.lower().encode("latin-1", "replace")
        for other, value in self.added:
            if other.lower() == wanted:
                return value.decode("latin-1")
        found = self.head.fields.first(wanted)
        return found.decode("latin-1") if found is not None else None


class Response:
    """A whole response in place of an endpoint's: `Response(401, {"WWW-Authenticate": "Basic"})`.

    `status` is from 200 to 599. A text is sent as UTF-8, as text/plain unless a field says
    otherwise. Content-Length and Date are the gateway's; a response to HEAD goes without the body.
    """

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int = 200, fields: Fields = (), body: str | bytes = b"") -> None:
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise ConfigurationError(
                f"{status!a} is not the status of a response",
                where="Response(status=)",
                hint="write a number from 200 to 599",
            )
        if status in _BODILESS and body:
            raise ConfigurationError(
                f"a response of status {status} has no body",
                where="Response(body=)",
                hint="leave the body out, or write another status",
            )
        self.status = status
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        pairs = checked_pairs(fields, "Response(fields=)", _FRAMING)
        if body and not any(name.lower() == b"content-type" for name, _ in pairs):
            kind = b"text/plain; charset=utf-8"
            if not isinstance(body, str):
                kind = b"application/octet-stream"
            pairs = (*pairs, (b"Content-Type", kind))
        self.fields = pairs

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Changes:
    """Other fields of a request on its way to an endpoint, or of a response on its way back.

    `set` takes the place of what is there by these names, `add` stands beside it, `remove` are
    names to leave out. `status`, for a response alone, is from 200 to 599; whether there is a body
    cannot change, so 204 and 304 are out of the question.
    """

    __slots__ = ("added", "removed", "status")

    def __init__(
        self,
        set: Fields = (),  # noqa: A002
        *,
        add: Fields = (),
        remove: Iterable[str] = (),
        status: int | None = None,
    ) -> None:
        if status is not None and (
            not isinstance(status, int) or not 200 <= status <= 599 or status in _BODILESS
        ):
            raise ConfigurationError(
                f"{status!a} cannot take the place of a response's status",
                where="Changes(status=)",
                hint="write a number from 200 to 599, and neither 204 nor 304",
            )
        if isinstance(remove, str):
            raise ConfigurationError(
                f"{remove!a} stands in place of a list of names",
                where="Changes(remove=)",
                hint=f"write [{remove!a}]",
            )
        refused = _FRAMING | _OURS
        own = checked_pairs(set, "Changes(set=)", refused)
        unwanted = checked_pairs([(name, "") for name in remove], "Changes(remove=)", _FRAMING)
        self.removed = frozenset(name.lower() for name, _ in (*own, *unwanted))
        self.added: Pairs = (*own, *checked_pairs(add, "Changes(add=)", refused))
        self.status = status

    def __repr__(self) -> str:
        return f"<Changes added={len(self.added)} removed={len(self.removed)}>"


def checked_pairs(fields: Fields, where: str, refused: frozenset[bytes]) -> Pairs:
    """`fields` as pairs; `ConfigurationError` for what no field may have, and for names among
    `refused`.
    """
    pairs = []
    given = fields.items() if isinstance(fields, Mapping) else fields
    if isinstance(given, str):
        raise ConfigurationError(f"{given!a} is not a mapping", where=where, hint=_HINT)
    for name, value in given:
        if not isinstance(name, str) or not isinstance(value, str):
            message = f"{name!a}: {value!a} are not two texts"
            raise ConfigurationError(message, where=where, hint=_HINT)
        try:
            written, content = name.encode("ascii"), value.encode("latin-1").strip(b" \t")
        except UnicodeEncodeError:
            message = f"{name!a}: {value!a} has characters that no field may have"
            raise ConfigurationError(message, where=where, hint=_HINT) from None
        if not _NAME.fullmatch(written) or _BAD_VALUE.search(content):
            message = f"{name!a}: {value!a} has characters that no field may have"
            raise ConfigurationError(message, where=where, hint=_HINT)
        if written.lower() in refused:
            message = f"{name} is written by the gateway itself"
            raise ConfigurationError(message, where=where, hint=f"leave {name} out")
        pairs.append((written, content))
    return tuple(pairs)
