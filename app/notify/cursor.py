"""The cursor: one number over all that can change an answer, and what stands at it. Values and the store's contract.

`rev` is `epoch.seq`. `seq` grows by one with every announced move of a label, deletion or secret rotation. An epoch
begins when the numbering starts anew (Redis was emptied or rolled back); revs of two epochs cannot be compared.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from app.model import COMMIT, RefKind, SecretPath
from app.secrets import Known

#: How many former heads of a label are remembered: the first places to look for a last good version.
HISTORY = 20


def now_text() -> str:
    """This moment as RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Rev:
    """A point in the life of the configuration; `str()` is its wire form."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    def rank(self) -> tuple[int, int]:
        """Sorts by the epoch's number, then by seq: of two revs that were seen, the one to hold on to."""
        return epoch_number(self.epoch), self.seq

    @property
    def is_host_local(self) -> bool:
        """Numbered by one host alone, while it cannot reach Redis."""
        return epoch_number(self.epoch) == 0

    @classmethod
    def parse(cls, text: str) -> Rev | None:
        epoch, dot, seq = text.rpartition(".")
        return cls(epoch, int(seq)) if dot and epoch and seq.isascii() and seq.isdigit() and len(seq) < 19 else None


def new_epoch(after: str = "") -> str:
    """An epoch that ranks above `after`: a growing number, and a random part so that two makers differ."""
    return f"{epoch_number(after) + 1}-{secrets.token_hex(4)}"


def host_epoch() -> str:
    """The epoch of a host that cannot reach Redis: ranks below every shared one, and is remembered by nobody."""
    return f"0-{secrets.token_hex(4)}"


def epoch_number(epoch: str) -> int:
    digits = epoch.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


@dataclass(frozen=True, slots=True)
class Announced:
    """A commit that was a label's head, and since when (RFC 3339)."""

    commit: str
    at: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A label is served at `commit`, wherever it stands, until `until` (Unix seconds); `since` is RFC 3339."""

    commit: str
    until: float
    since: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A branch is not given to chosen instances any more, where it stands now: `instance` has rejected it."""

    since: str
    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class LabelHead:
    """Where a label stands: `commit` is None once it was deleted, `former` are older heads, newest first.

    `hold` may have ended: whoever reads it looks at the clock. `stopped` is of this commit and no later one.
    """

    kind: RefKind
    commit: str | None
    seq: int
    at: str
    former: tuple[Announced, ...] = ()
    rewritten: bool = False
    hold: Hold | None = None
    stopped: Stopped | None = None

    def moved(self, kind: RefKind, commit: str | None, at: str, *, rewritten: bool = False) -> LabelHead:
        """The head after it moved to `commit`; the store fills in its seq. `rewritten`: by a forced push."""
        former = (Announced(self.commit, self.at), *self.former) if self.commit else self.former
        return LabelHead(kind, commit, 0, at, former[:HISTORY], rewritten, self.hold if commit else None)

    def as_json(self) -> dict[str, Any]:
        marks = {"hold": list(astuple(self.hold))} if self.hold else {}
        marks |= {"stopped": list(astuple(self.stopped))} if self.stopped else {}
        return {
            "v": 1,
            "kind": self.kind,
            "head": self.commit,
            "seq": self.seq,
            "at": self.at,
            "former": [[entry.commit, entry.at] for entry in self.former],
            "rewritten": self.rewritten,
            **marks,
        }

    @classmethod
    def loads(cls, text: str | bytes) -> LabelHead:
        """Raises ValueError on anything but a label of this schema version."""
        with _as_value_error():
            return cls.from_json(json.loads(text))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelHead:
        """Raises ValueError, KeyError, TypeError, AttributeError on anything but a label of this schema version."""
        commit, seq, at = data["head"], data["seq"], data["at"]
        named = commit is None or COMMIT.fullmatch(commit)
        if data["v"] != 1 or not named or not (type(seq), type(at), type(data["former"])) == (int, str, list):
            raise ValueError("not a label of schema version 1")
        former = tuple(Announced(*entry) for entry in data["former"] if _is_announced(entry))
        rewritten, hold, stopped = data.get("rewritten") is True, _hold(data.get("hold")), _stopped(data.get("stopped"))
        return cls(RefKind(data["kind"]), commit, seq, at, former, rewritten, hold, stopped)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything announced, at one rev. Immutable; labels of one repository by name."""

    rev: Rev
    default_label: str
    labels: Mapping[str, LabelHead] = field(default_factory=dict)
    secrets: Mapping[SecretPath, Known] = field(default_factory=dict)

    def is_behind(self, seen: Rev | None) -> bool:
        """Whether this is less than what was `seen` before: then the store lost something and must be seeded anew."""
        if seen is None or self.rev.epoch == seen.epoch:
            return seen is not None and self.rev.seq < seen.seq
        return epoch_number(self.rev.epoch) <= epoch_number(seen.epoch)

    def dumps(self) -> str:
        return json.dumps(
            {
                "v": 1,
                "epoch": self.rev.epoch,
                "seq": self.rev.seq,
                "default_label": self.default_label,
                "labels": {name: head.as_json() for name, head in self.labels.items()},
                "secrets": {str(path): dump_known(known) for path, known in self.secrets.items()},
            }
        )

    @classmethod
    def loads(cls, text: str | bytes) -> Cursor:
        """Raises ValueError on anything but a cursor of this schema version."""
        with _as_value_error():
            data = json.loads(text)
            rev = Rev(data["epoch"], data["seq"])
            if data["v"] != 1 or Rev.parse(str(rev)) != rev or not isinstance(data["default_label"], str):
                raise ValueError("not a cursor of schema version 1")
            return cls(
                rev,
                data["default_label"],
                {name: LabelHead.from_json(head) for name, head in data["labels"].items()},
                {secret_path(text): load_known(known) for text, known in data["secrets"].items()},
            )


def dump_known(known: Known) -> str:
    """One form for one state, so that a script can compare it as text."""
    return json.dumps([known.version, known.digest, known.gone])


def load_known(text: str | bytes) -> Known:
    """Raises ValueError on anything but what `dump_known` writes."""
    with _as_value_error():
        version, digest, gone = json.loads(text)
    if type(version) is not int or not isinstance(digest, str) or not isinstance(gone, bool):
        raise ValueError("not the version of a secret")
    return Known(version, digest, gone)


@contextmanager
def _as_value_error() -> Iterator[None]:
    """What is stored may be damaged in any way; its reader needs to know one error."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError("damaged, or of another schema") from exc


def _hold(entry: object) -> Hold | None:
    """None for no hold, and for one that is damaged: it would serve nobody knows what."""
    if not isinstance(entry, list) or len(entry) != 4:
        return None
    commit, until, since, reason = entry
    whole = isinstance(commit, str) and COMMIT.fullmatch(commit) and isinstance(until, int | float)
    return Hold(commit, until, since, reason) if whole and isinstance(since, str) and isinstance(reason, str) else None


def _stopped(entry: object) -> Stopped | None:
    if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(each, str) for each in entry):
        return None
    return Stopped(*entry)


def _is_announced(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    commit, at = entry
    return isinstance(commit, str) and isinstance(at, str) and bool(COMMIT.fullmatch(commit))


def secret_path(text: str) -> SecretPath:
    alias, _, path = text.partition("/")
    return SecretPath(alias, path)


class CursorStore(Protocol):
    """Where the cursor lives. Every method raises BusUnavailable when the store does not answer."""

    def read(self) -> Cursor | None:
        """All that is announced, or None when nothing is (a new or emptied store)."""

    def seed(self, before: Cursor | None, after: Cursor) -> bool:
        """Replace everything by `after`, if the store still stands at `before`. False when somebody was faster."""

    def announce(self, before: Cursor, label: str, head: LabelHead) -> bool:
        """Move `label` to `head` if its seq is still the one in `before` (compare and set), and tell everybody.

        True also when the label stands at `head.commit` already; False when `before` is out of date: read again.
        """

    def adopt(self, epoch: str, path: SecretPath, found: Known) -> Known:
        """Agree on the version of a secret seen for the first time: the first to say it wins, all use the answer."""

    def in_use(self) -> Mapping[SecretPath, Known]:
        """Every secret document that anybody has adopted, as announced. For the version watch."""

    def rotate(self, epoch: str, path: SecretPath, before: Known, after: Known) -> bool:
        """Change the announced version of `path` (compare and set), and tell everybody. False if out of date."""
