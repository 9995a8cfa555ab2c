"""`HookRun`: the hooks of one request, before it is sent on and when its response comes.

Functions that decide at once do so within `begin`. As soon as one returns something to be awaited,
a task goes on with it, the request is `PENDING`, and the front keeps what comes of its body until
`Front.decided`. A hook that raises, or takes longer than the time-out, costs its own request: 500.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from meshlib.client_claims import ForwardingPolicy, is_secure
from meshlib.decision import Decision, Forward, Redirect, Respond
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Changes, Request, Response
from meshlib.hooks import Hook
from meshlib.http1 import BodyKind
from meshlib.http2.sections import PairSection
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import RedirectRule
from meshlib.redirects import location
from meshlib.table.settled import settled
from meshlib_adapters.proxy.changed_heads import changed_response, lines_of, without_fields
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.front import Front
from meshlib_adapters.proxy.outcomes import PENDING, Outcome, Pending
from meshlib_adapters.proxy.request_cache import RequestCache
from meshlib_adapters.proxy.response_receiver import OnResponse
from meshlib_adapters.proxy.retries import UpstreamRequest
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["FAILED", "HookRun", "HookTerms", "HookedExchange", "begin_task", "tell_failure"]

_logger = logging.getLogger("meshlib.hooks")

FAILED: Final = Respond(500, "hook_failed")
_TIMED_OUT: Final = Respond(500, "hook_timeout")
# Statuses whose responses have no body.
_BODILESS: Final = (204, 304)


class HookedExchange(Protocol):
    """The exchange, as hooks see it. `known` and `added` are fields to send on, as it says."""

    added: list[tuple[bytes, bytes]]
    decision: Forward | None
    front: Front
    head: RequestHead | None
    on_response: OnResponse
    known: tuple[FieldSection, bytes, int, bool, bytes] | None
    request: UpstreamRequest
    state: State

    def pass_on(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Pass a response on."""

    def local_error(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        """Send an error of our own."""


class HookTerms(NamedTuple):
    """The hooks of a data path, and what they need to know of it. `time_out` holds for all hooks
    before a request together, and for all behind it.
    """

    mesh: Mesh
    policy: ForwardingPolicy
    request_cache: RequestCache
    time_out: float
    loop: asyncio.AbstractEventLoop


def begin_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], result: Awaitable[object]
) -> asyncio.Task[None]:
    """Begin a task that awaits `result`, which a hook of the user's own has returned."""
    task = loop.create_task(work)
    if isinstance(result, Coroutine):  # which may be cancelled before it has begun
        task.add_done_callback(lambda _: result.close())
    return task


class HookRun:
    """The hooks of one request, before it is sent on and when its response comes. While it stands
    in for a connection that is being made, `cancel` ends it.
    """

    __slots__ = ("_afters", "_exchange", "_kept", "_names", "_queue", "_request", "_task", "_terms")

    def __init__(self, terms: HookTerms, exchange: HookedExchange, decision: Decision) -> None:
        head = exchange.head
        assert head is not None
        self._terms = terms
        self._exchange = exchange
        self._request = Request(head, exchange.front.peer, decision, terms.policy, self._decide)
        self._names: tuple[str, ...] = ()
        self._queue: list[Hook] = list(terms.mesh.hooks.before.hooks)
        self._afters: tuple[Hook, ...] = ()
        self._task: asyncio.Task[None] | None = None
        # Of a response that waits: itself, what is known of its body, its pieces so far.
        self._kept: tuple[ForwardResponse, BodyKind, list[bytes], bool] | None = None

    def __repr__(self) -> str:
        return f"<HookRun {self._request!r} waiting={len(self._queue)}>"

    def _decide(self, head: RequestHead) -> Decision:
        table = self._terms.mesh.table
        secure = is_secure(head.fields, self._exchange.front.peer)
        return settled(table, head, table.route(head), secure=secure)

    def cancel(self) -> None:
        """Nobody wants the request any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # Before.

    def begin(self) -> Outcome | Pending | None:
        """Call the hooks that come before."""
        exchange = self._exchange
        exchange.on_response = exchange.request.on_response = exchange.pass_on
        exchange.request.on_data = exchange.front.send_data
        exchange.known = None
        if not self._meet(self._request.decision):
            return FAILED
        while self._queue:
            hook = self._queue.pop(0)
            try:
                result = hook.function(self._request)
                if not hasattr(result, "__await__"):
                    outcome = self._apply(hook, result)
                    if outcome is not None:
                        return outcome
                    continue
            except Exception as error:  # noqa: BLE001
                return self._failed(hook, error)
            exchange.state = State.DECIDING
            exchange.request.connecting = self
            self._task = begin_task(self._terms.loop, self._go_on(hook, result), result)
            return PENDING
        return self._settle()

    def _meet(self, decision: Decision) -> bool:
        # The hooks that the route of a decision names, each once. False: there is one that is not
        # here.
        if not isinstance(decision, Forward):
            return True
        named = self._terms.mesh.hooks.named
        for name in decision.route.options.hooks:
            if name not in named:
                _logger.error("the hook %s is not in this process, so its route is closed", name)
                return False
            hook = named[name][0]
            if hook is not None and name not in self._names:
                self._queue.append(hook)
        self._names = tuple(dict.fromkeys((*self._names, *decision.route.options.hooks)))
        return True

    async def _go_on(self, hook: Hook, result: Awaitable[object]) -> None:
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(self._terms.time_out):
                outcome = self._apply(hook, await result)
                while outcome is None and self._queue:
                    hook = self._queue.pop(0)
                    found = hook.function(self._request)
                    if hasattr(found, "__await__"):
                        found = await found
                    outcome = self._apply(hook, found)
        except TimeoutError as error:
            outcome = self._failed(hook, error)
        except asyncio.CancelledError:
            if self._task is None:  # by `cancel`
                raise
            outcome = self._failed(hook, RuntimeError("it was cancelled"))
        except Exception as error:  # noqa: BLE001
            outcome = self._failed(hook, error)
        if self._task is None:
            return
        self._task = None
        exchange = self._exchange
        exchange.request.connecting = None
        exchange.state = State.ROUTED
        exchange.front.decided(outcome if outcome is not None else self._settle())

    def _apply(self, hook: Hook, result: object) -> Outcome | None:
        # What a hook has returned; the outcome, where it ends the row.
        request = self._request
        if result is None:
            return None
        if isinstance(result, Changes):
            if result.status is not None:
                raise TypeError("a request has no status")
            removed = result.removed
            request.head = without_fields(request.head, removed)
            kept = [pair for pair in request.added if pair[0].lower() not in removed]
            request.added = (*kept, *result.added)
            return None
        if isinstance(result, Forward):
            request.decision = result
            return None if self._meet(result) else FAILED
        if isinstance(result, RedirectRule):
            target = location(result, request.head.target).decode("latin-1")
            return Response(result.status, {"Location": target})
        if isinstance(result, Redirect | Respond | Response):
            return result
        raise TypeError(f"it returned {result!a}, which is nothing that a hook may return")

    def _settle(self) -> Outcome | None:
        # All hooks have been called: forward, or what the table has decided.
        request, exchange = self._request, self._exchange
        decision = request.decision
        if not isinstance(decision, Forward):
            return decision
        exchange.decision = decision
        exchange.head = head = request.head
        if request.added:
            self._add_fields(head, decision)
        self._afters = self._terms.mesh.hooks.afters(self._names)
        if self._afters:
            exchange.on_response = exchange.request.on_response = self.on_response
        return None

    def _add_fields(self, head: RequestHead, decision: Forward) -> None:
        # Not among the client's: some of its names are claims, which only we may make.
        exchange = self._exchange
        exchange.head = head = without_fields(head, frozenset())
        if isinstance(head.fields, PairSection):
            exchange.added = list(self._request.added)
            return
        front = exchange.front
        wish = decision.route.options.forwarded_for
        found = self._terms.request_cache.lines_to_send(head, front.peer, wanted_by_label=wish)
        if found is None:  # `forward` says so
            return
        tls = front.tls
        if tls is not None and tls.asks_clients:
            found = tls.proven_lines(found)
        lines = found + lines_of(self._request.added)
        exchange.known = (head.fields, head.authority, head.minor_version, wish, lines)

    def _failed(self, hook: Hook, error: Exception) -> Respond:
        request = self._request
        tell_failure(hook.name, error, f" on {request.method} {request.host}{request.path!a}")
        return _TIMED_OUT if isinstance(error, TimeoutError) else FAILED

    # After.

    def on_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Let the hooks see the response's head, then pass it on. Called in place of the exchange's
        `on_response`.
        """
        exchange = self._exchange
        request = exchange.request
        exchange.on_response = request.on_response = exchange.pass_on
        self._queue = list(self._afters)
        while self._queue:
            hook = self._queue.pop(0)
            try:
                result = hook.function(self._request, response.head)
                if not hasattr(result, "__await__"):
                    response = _changed(response, result)
                    continue
            except Exception as error:  # noqa: BLE001
                self._fail_response(hook, error)
                return
            self._kept = (response, kind, pieces, done)
            request.on_data = self._keep
            connection = request.connection
            if done:  # it is another request's already
                request.connection = None
            elif connection is not None:
                connection.pause()
            request.connecting = self
            self._task = begin_task(
                self._terms.loop, self._go_on_after(hook, result, response), result
            )
            return
        exchange.pass_on(response, kind, pieces, done)

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        assert self._kept is not None
        response, kind, before, _ = self._kept
        self._kept = (response, kind, before + pieces, done)
        if done:
            self._exchange.request.connection = None

    async def _go_on_after(
        self, hook: Hook, result: Awaitable[object], response: ForwardResponse
    ) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._terms.time_out):
                response = _changed(response, await result)
                while self._queue:
                    hook = self._queue.pop(0)
                    found = hook.function(self._request, response.head)
                    if hasattr(found, "__await__"):
                        found = await found
                    response = _changed(response, found)
        except asyncio.CancelledError:
            if self._task is None:
                raise
            failure = RuntimeError("it was cancelled")
        except Exception as error:  # noqa: BLE001
            failure = error
        exchange = self._exchange
        request = exchange.request
        if self._task is None:
            return
        self._task = None
        if request.connecting is self:
            request.connecting = None
        # The endpoint may have failed meanwhile, so that the client has its response.
        if request.on_data != self._keep or exchange.state is not State.WAITING:
            return
        request.on_data = exchange.front.send_data
        if failure is not None:
            self._fail_response(hook, failure)
            return
        assert self._kept is not None
        _, kind, pieces, done = self._kept
        exchange.pass_on(response, kind, pieces, done)
        connection = request.connection
        if connection is not None and not done:
            connection.resume()

    def _fail_response(self, hook: Hook, error: Exception) -> None:
        failed = self._failed(hook, error)
        self._exchange.request.cancel()
        self._exchange.local_error(failed.status, failed.reason)


def _changed(response: ForwardResponse, result: object) -> ForwardResponse:
    if result is None:
        return response
    if not isinstance(result, Changes):
        raise TypeError(f"it returned {result!a}, and not meshlib.Changes or None")
    if result.status is not None and response.status in _BODILESS:
        raise ConfigurationError(
            f"a response of status {response.status} has no body, so its status stays",
            where="Changes(status=)",
            hint="look at the response's status first",
        )
    return changed_response(response, result)


def tell_failure(name: str, error: Exception, where: str) -> None:
    """Log that a hook has failed."""
    if isinstance(error, TimeoutError):
        _logger.error("the hook %s did not end in time%s", name, where)
    else:
        kind = type(error).__name__
        _logger.error("the hook %s failed%s: %s: %s", name, where, kind, error, exc_info=error)
