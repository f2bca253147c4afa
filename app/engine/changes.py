"""What a subscriber is told of a topic: which keys changed, written once and shared by all who get the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from app.cache import LocalCache
from app.effective import canonical, leaf_nodes, patch
from app.engine.engine import Current
from app.model import Effective, Json, Node, Stale, Target, Template, View
from app.notify.wire import Change, Frame, change


@dataclass(frozen=True, slots=True)
class _Known:
    """What a configuration was: enough to tell which keys differ from the next one, and by which patch."""

    effective: Effective
    versions: Mapping[str, str]
    document: dict[str, Json]


_FrameKey: TypeAlias = tuple[Target, View, str | None, bool, str, str, str, tuple[Stale, ...], bool]


class ChangeFrames:
    """Thread-safe. Bounded: an etag that is forgotten costs a whole document instead of a patch."""

    def __init__(self, capacity: int = 1024) -> None:
        self._frames: LocalCache[_FrameKey, Frame] = LocalCache(capacity)
        self._known: LocalCache[tuple[Target, View, str], _Known] = LocalCache(capacity)

    def content(self, current: Current, view: View, base: str | None, *, patches: bool) -> Frame:
        """The configuration, for a subscriber that holds `base` (an etag, or None).

        As a patch when the subscriber takes `patches`, what it holds is remembered here, and the patch is smaller than
        half of the document; else as the whole document.
        """
        resolution = current.resolution
        if base is not None and self._known.get((resolution.target, view, base)) is None:
            base = None  # a client may claim to hold anything: what is not known here must not fill the cache
        key = (
            resolution.target,
            view,
            base,
            patches,
            resolution.etag,
            resolution.version,
            resolution.head,
            current.stale,
            current.rewritten,
        )
        frame = self._frames.get(key)
        if frame is None:
            frame = self._written(current, view, base, patches=patches)
            self._frames.put(key, frame)
        return frame

    def state(self, current: Current) -> Frame:
        """Only the staleness has changed: the document is the one that the subscriber holds."""
        return change(_told(current, "state"))

    def gone(self, target: Target, etag: str | None, head: str) -> Frame:
        """The label or target is not there any more."""
        return change(Change(target.topic, "del", etag or "", head, head))

    def _written(self, current: Current, view: View, base: str | None, *, patches: bool) -> Frame:
        resolution = current.resolution
        now = _Known(resolution.effective, resolution.secrets.versions, resolution.document(view))
        before = self._known.get((resolution.target, view, base)) if base else None
        self._known.put((resolution.target, view, resolution.etag), now)
        digest = hashlib.sha256(canonical(now.document)).hexdigest()
        told = replace(_told(current, "put"), keys=_changed(before, now), doc=now.document, sum=digest)
        if before is None or base is None or not patches:
            return change(told)
        return _smaller(told, base, patch(before.document, now.document))


def _smaller(told: Change, base: str, operations: list[dict[str, Json]]) -> Frame:
    """The patch, if it is smaller than half of the document; else the document."""
    whole = change(told)
    size = len(json.dumps(operations, ensure_ascii=False, separators=(",", ":")))
    if 2 * size >= len(json.dumps(told.doc, ensure_ascii=False, separators=(",", ":"))):
        return whole
    return change(replace(told, op="patch", base=base, doc=None, patch=tuple(operations)))


def _told(current: Current, op: str) -> Change:
    resolution = current.resolution
    return Change(
        resolution.target.topic,
        op,
        resolution.etag,
        resolution.version,
        resolution.head,
        stale=current.stale,
        rewritten=current.rewritten,
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
