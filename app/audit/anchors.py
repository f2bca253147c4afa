"""Anchors: a record in one chain that names the ends of others, so that an end cannot be cut off unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.audit.event import MAX_KEYS, AuditEvent, Link, Outcome
from app.audit.shared import ChainHead

ACTION: Final = "audit.anchor"
#: How the action stands in a line.
ANCHOR: Final = b'"action":"audit.anchor"'


@dataclass(frozen=True, slots=True)
class Anchor:
    """`chain` is `chain` of the same trail, or `host/chain` of another's: its record `link.seq` has this hash."""

    chain: str
    link: Link

    def __str__(self) -> str:
        return f"{self.chain}#{self.link.seq}={self.link.hash}"

    @classmethod
    def parse(cls, text: object) -> Anchor | None:
        if not isinstance(text, str):
            return None
        chain, _, rest = text.rpartition("#")
        seq, _, digest = rest.partition("=")
        return cls(chain, Link(int(seq), digest)) if chain and seq.isascii() and seq.isdigit() else None


class Anchors:
    """Remembers what this worker's chain has named already. `host` tells whose trail it is; `record` must not block."""

    def __init__(self, record: Callable[[AuditEvent], None], host: Callable[[], str]) -> None:
        self._record = record
        self._host = host
        self._anchored: dict[str, int] = {}

    def anchor(self, own: str, heads: Mapping[str, ChainHead]) -> None:
        """Record the ends of the chains (`host/chain`) but `own` that have grown by more than anchors since."""
        here = f"{self._host()}/"
        moved = {
            name: head
            for name, head in heads.items()
            if name != f"{here}{own}" and head.told > self._anchored.get(name, 0)
        }
        anchors = tuple(str(Anchor(name.removeprefix(here), head.link)) for name, head in sorted(moved.items()))
        for start in range(0, len(anchors), MAX_KEYS):
            self._record(AuditEvent(ACTION, Outcome.ALLOWED, keys=anchors[start : start + MAX_KEYS]))
        self._anchored |= {name: head.link.seq for name, head in moved.items()}
