"""A cache of what clients say again and again, over all connections of a gateway, with what came
of it the last time.

Requests of one browser differ in a line or two, those of many differ little more, and a new
connection should not cost as much as if nobody had ever connected before. Everything here is a pure
function's result, so forgetting is always right; each table is bounded and begins anew when it is
full.
"""

from __future__ import annotations

from typing import Final, cast

from meshlib.client_claims import ForwardingPolicy, Peer, added_fields, is_loop
from meshlib.forwarding import kept_fields, pass_whole
from meshlib.http1 import KnownLines, parse_fields, section_of
from meshlib.http2.sections import Pair, PairSection, request_pairs, written_pairs
from meshlib.messages import FieldSection, RequestHead

__all__ = ["RequestCache"]

# Some hundred kinds of clients, at most a few kilobytes each.
_ENTRIES: Final = 512
_LONGEST: Final = 2048

# Stands for the authority, and in no field: what is added differs in that alone from one host to
# the next.
_ANY: Final = b"\0"


class RequestCache:
    """One for each gateway; `lines` are known field lines, of requests and responses alike. With
    `remember` False nothing is remembered (`FastPaths`).
    """

    __slots__ = (
        "_added",
        "_added_pairs",
        "_blocks",
        "_kept",
        "_longest",
        "_max_fields",
        "_paired",
        "_policy",
        "_remember",
        "_sections",
        "_whole",
        "lines",
    )

    def __init__(
        self,
        policy: ForwardingPolicy,
        max_fields: int,
        lines: KnownLines | None,
        *,
        remember: bool = True,
    ) -> None:
        self.lines = lines
        self._remember = remember
        self._longest = _LONGEST if remember else -1
        self._policy = policy
        self._max_fields = max_fields
        self._sections: dict[bytes, FieldSection] = {}
        self._paired: dict[tuple[tuple[bytes, bytes], ...], FieldSection] = {}
        self._blocks: set[bytes] = set()  # those of `_paired`
        # Of sections in `_sections` and `_paired` that do not go on as they came: what goes on of
        # them. Not every version of HTTP may upgrade, so whether the head's fields still have the
        # wish is a part of the question.
        self._kept: dict[tuple[bytes, bool], bytes] = {}
        self._whole: dict[tuple[bytes, ...], bool] = {}
        self._added: dict[tuple[Peer, int, bool], tuple[bytes, bytes, bytes]] = {}
        self._added_pairs: dict[tuple[Peer, bytes, bool], list[Pair]] = {}

    def first_fields(self, block: bytes) -> FieldSection:
        """The fields of a connection's first request; raises as `parse_fields`."""
        section = self._sections.get(block)
        if section is None:
            section = parse_fields(block, max_fields=self._max_fields, known=self.lines)
            if len(block) <= self._longest:
                self._make_room()
                self._sections[block] = section
        return section

    def paired_fields(self, pairs: tuple[tuple[bytes, bytes], ...]) -> FieldSection:
        """The fields of pairs that another parser took apart, without a wish for an upgrade; raises
        as `section_of`.
        """
        section = self._paired.get(pairs)
        if section is None:
            section = section_of(pairs, max_fields=self._max_fields, known=self.lines)
            if section.upgrade is not None:
                section = section._replace(upgrade=None)
            if len(section.block) <= self._longest:
                self._make_room()
                self._paired[pairs] = section
                self._blocks.add(section.block)
        return section

    def _make_room(self) -> None:
        if len(self._sections) + len(self._paired) >= _ENTRIES:
            self._sections.clear()
            self._paired.clear()
            self._blocks.clear()
            self._kept.clear()

    def fields(self, block: bytes, last: FieldSection | None = None) -> FieldSection:
        """The fields of a later request, which nobody is likely to send again; raises as
        `parse_fields`.

        `last`: those of the connection's last request, from which they may differ in the Host
        alone.
        """
        return parse_fields(block, max_fields=self._max_fields, known=self.lines, last=last)

    def lines_to_send(
        self, head: RequestHead, peer: Peer, *, wanted_by_label: bool
    ) -> bytes | None:
        """All lines of `forwarding.request_fields`; None for a request that runs in a circle."""
        fields = head.fields
        names = fields.names
        whole = self._whole.get(names)
        if whole is None:
            whole = self._learn_names(fields)
        if whole and fields.host == head.authority and head.authority:
            kept = fields.block
        else:
            lines = self._lines_kept(head, peer, wanted_by_label)
            if lines is None:
                return None
            kept = lines
        authority = head.authority
        # The claims of a trusted peer are a part of ours; Forwarded writes a host in a way of its
        # own, and none is another matter too.
        if peer.trusted or self._policy.rfc7239 or not authority:
            return kept + added_fields(head, self._policy, peer, wanted_by_label=wanted_by_label)
        key = (peer, head.minor_version, wanted_by_label)
        added = self._added.get(key)
        if added is None:
            template = added_fields(
                head._replace(authority=_ANY), self._policy, peer, wanted_by_label=wanted_by_label
            )
            added = template.partition(_ANY)
            if self._remember:
                if len(self._added) >= _ENTRIES:
                    self._added.clear()
                self._added[key] = added
        before, found, behind = added
        return b"%s%s%s%s" % (kept, before, authority, behind) if found else kept + before

    def pairs_to_send(
        self, head: RequestHead, peer: Peer, *, wanted_by_label: bool
    ) -> tuple[list[Pair], list[Pair]] | None:
        """The fields of a request of HTTP/2 to send on, without Host, and those that are added
        about the client, with names as HTTP/1 writes them; None for a request that runs in a
        circle.
        """
        fields = cast("PairSection", head.fields)
        whole = self._whole.get(fields.names)
        if whole is None:
            whole = self._learn_names(fields)
        if whole:
            kept = list(fields.known_pairs[1:])  # Host is in front
        else:
            if is_loop(fields, self._policy):
                return None
            kept = request_pairs(fields, self._policy, peer, wanted_by_label=wanted_by_label)
        key = (peer, head.authority, wanted_by_label)
        alone = not peer.trusted
        added = self._added_pairs.get(key) if alone else None
        if added is None:
            lines = added_fields(head, self._policy, peer, wanted_by_label=wanted_by_label)
            added = written_pairs(lines)
            if alone and len(lines) <= self._longest:
                if len(self._added_pairs) >= _ENTRIES:
                    self._added_pairs.clear()
                self._added_pairs[key] = added
        return kept, added

    def _lines_kept(self, head: RequestHead, peer: Peer, wanted_by_label: bool) -> bytes | None:
        fields = head.fields
        # They depend on the fields alone, unless the peer may say who asked, or the request's host
        # is another than the field's.
        alone = not peer.trusted and fields.host == head.authority
        key = (fields.block, fields.upgrade is None)
        kept = self._kept.get(key) if alone else None
        if kept is None:
            if is_loop(fields, self._policy):
                return None
            kept = kept_fields(head, self._policy, peer, wanted_by_label=wanted_by_label)
            if alone and (fields.block in self._sections or fields.block in self._blocks):
                self._kept[key] = kept
        return kept

    def _learn_names(self, fields: FieldSection) -> bool:
        whole = pass_whole(fields.names, self._policy)
        if len(b"".join(fields.names)) <= self._longest:
            if len(self._whole) >= _ENTRIES:
                self._whole.clear()
            self._whole[fields.names] = whole
        return whole
