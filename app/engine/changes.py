"""What a subscriber is told of a topic: which keys changed, written once and shared by all who get the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from app.cache import LocalCache
from app.effective import canonical, leaf_nodes
from app.engine.engine import Current
from app.engine.resolver import Resolution
from app.model import Effective, Node, Stale, Target, Template, View
from app.notify.wire import Change, Frame, change


@dataclass(frozen=True, slots=True)
class _Known:
    """What a configuration was, without plaintext: enough to tell which keys differ from the next one."""

    effective: Effective
    versions: Mapping[str, str]


_FrameKey: TypeAlias = tuple[Target, View, str | None, str, str, str, tuple[Stale, ...]]


class ChangeFrames:
    """Thread-safe. Bounded: an etag that is forgotten costs a list of all keys instead of the changed ones."""

    def __init__(self, capacity: int = 1024) -> None:
        self._frames: LocalCache[_FrameKey, Frame] = LocalCache(capacity)
        self._known: LocalCache[tuple[Target, str], _Known] = LocalCache(2 * capacity)

    def put(self, current: Current, view: View, base: str | None) -> Frame:
        """The whole document, for a subscriber that holds `base` (an etag, or None)."""
        resolution = current.resolution
        if base is not None and self._known.get((resolution.target, base)) is None:
            base = None  # a client may claim to hold anything: what is not known here must not fill the cache
        key = (
            resolution.target,
            view,
            base,
            resolution.etag,
            resolution.version,
            resolution.head,
            current.stale,
        )
        frame = self._frames.get(key)
        if frame is None:
            frame = self._written(current, view, base)
            self._frames.put(key, frame)
        return frame

    def state(self, current: Current) -> Frame:
        """Only the staleness has changed: the document is the one that the subscriber holds."""
        return change(_told(current, "state"))

    def gone(self, target: Target, etag: str | None, head: str) -> Frame:
        """The label or target is not there any more."""
        return change(Change(target.topic, "del", etag or "", head, head))

    def _written(self, current: Current, view: View, base: str | None) -> Frame:
        resolution = current.resolution
        document = resolution.document(view)
        digest = hashlib.sha256(canonical(document)).hexdigest()
        before = self._known.get((resolution.target, base)) if base else None
        now = _Known(resolution.effective, resolution.secrets.versions)
        self._known.put((resolution.target, resolution.etag), now)
        keys = _changed(before, now)
        return change(_told(current, "put", keys=keys, doc=document, sum=digest))


def _told(current: Current, op: str, **more: object) -> Change:
    resolution: Resolution = current.resolution
    return Change(
        resolution.target.topic,
        op,
        resolution.etag,
        resolution.version,
        resolution.head,
        stale=current.stale,
        **more,  # type: ignore[arg-type]  # keys, doc and sum of a put, spelt out by the caller
    )


def _changed(before: _Known | None, now: _Known) -> tuple[str, ...]:
    """The keys that are new, gone, or hold another value; all of them when nothing is known of before."""
    after = _marks(now)
    if before is None:
        return tuple(after)
    old = _marks(before)
    return tuple(key for key in dict.fromkeys((*after, *old)) if after.get(key) != old.get(key))


def _marks(known: _Known) -> dict[str, object]:
    """Per leaf something that is equal when the value is: the value itself, or its references with their versions."""
    return {key: _mark(node, known.versions) for key, node in leaf_nodes(known.effective.values)}


def _mark(node: Node, versions: Mapping[str, str]) -> object:
    if isinstance(node, Template):
        return node, tuple(versions.get(reference.text) for reference in node.references)
    return type(node), node
