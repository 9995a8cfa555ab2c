"""Hooks of `on_record`: the records of the access log, and of connections, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from meshlib.hooks import Hooks
from meshlib.record import Record
from meshlib_adapters.observe.records import AccessRecord, ConnectionRecord

__all__ = ["HookRecords", "OnFailure", "hooked_end"]

# Is told the hook's name, what it raised, and where ("": nothing to say).
OnFailure: TypeAlias = Callable[[str, Exception, str], None]

# By a head's `minor_version`.
_PROTOCOLS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")


class HookRecords:
    """Gives each record to each hook. A `RecordConsumer`. What a hook raises goes to `on_failure`,
    and costs nobody else anything.
    """

    def __init__(self, hooks: Hooks, on_failure: OnFailure) -> None:
        self._hooks = hooks
        self._on_failure = on_failure

    def __repr__(self) -> str:
        return f"<HookRecords {self._hooks.on_record!r}>"

    def add(self, records: Sequence[AccessRecord]) -> None:
        """Take the records of requests."""
        for record in records:
            self.tell(_of_request(record))

    def tell(self, record: Record) -> None:
        """Take one."""
        hooks = self._hooks
        for hook in hooks.on_record.hooks:
            try:
                hooks.settle(hook, hook.function(record))
            except Exception as error:  # noqa: BLE001
                self._on_failure(hook.name, error, "")


def hooked_end(hooks: Hooks, on_failure: OnFailure) -> Callable[[ConnectionRecord], None] | None:
    """A function that gives the hooks the record of a connection; None while there are no hooks. A
    connection whose TLS was terminated here is left out, because its requests have records.
    """
    if not hooks.on_record.hooks:
        return None
    tell = HookRecords(hooks, on_failure).tell

    def end(record: ConnectionRecord) -> None:
        if record.outcome != "terminated":
            tell(_of_connection(record))

    return end


def _of_request(record: AccessRecord) -> Record:
    _, client, head, status, sent, route, endpoint, tries, seconds, first_byte, ending = record
    return Record(
        protocol=_PROTOCOLS[head.minor_version] if head is not None else "",
        client=client,
        host=head.authority.decode("latin-1") if head is not None else "",
        outcome=ending.reason,
        seconds=seconds,
        method=head.method.decode("latin-1") if head is not None else "",
        target=head.target.decode("latin-1") if head is not None else "",
        status=status,
        route=route.name if route is not None else "",
        service=route.service if route is not None else "",
        endpoint=endpoint.address if endpoint is not None else "",
        endpoint_id=endpoint.id if endpoint is not None else "",
        tries=tries,
        sent=sent,
        first_byte_seconds=first_byte,
    )


def _of_connection(record: ConnectionRecord) -> Record:
    name = record.server_name
    return Record(
        protocol=record.route[:3].upper() if name is None else "TLS",
        client=record.client,
        host=name or "",
        outcome=record.outcome,
        seconds=record.seconds,
        route=record.route,
        endpoint=record.endpoint,
        tries=1 if record.endpoint else 0,
        sent=record.sent,
        received=record.received,
    )
