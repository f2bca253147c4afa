"""What a target is at this moment, found once and written once for all who follow it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.cache import LocalCache
from app.effective import canonical, leaf_nodes, patch, sealed
from app.engine import ConfigEngine, Current, Resolution, World
from app.errors import ConfigServerError
from app.model import Effective, Json, Node, Target, Template, View
from app.notify import now_text
from app.notify.wire import Change, Frame, Text, change, sync, text_of

#: How long a look is good for, in seconds: what changes without a revision (Vault went away) is seen after that.
LOOK_SECONDS = 0.25
#: How long a `sync` may be shared, in seconds: it tells the time.
MOMENT = 0.05
#: How long the frames of a look are kept for those who come later, in seconds.
KEEP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What a configuration was, with its references: no plaintext is kept to tell what is new in the next one."""

    effective: Effective
    versions: Mapping[str, str]

    def sealed(self, view: View) -> dict[str, object]:
        """The document with a mark in place of each secret, equal where the secret is."""
        if view is View.MASKED:
            return sealed(self.effective.values, lambda _template: ())
        return sealed(self.effective.values, self.mark)

    def mark(self, template: Template) -> tuple[object, ...]:
        return template, *(self.versions.get(reference.text) for reference in template.references)


@dataclass(frozen=True, slots=True)
class _Document:
    """A configuration as one view holds it, written as JSON; `sum` is SHA-256 of its RFC 8785 form."""

    values: dict[str, Json]
    text: Text
    sum: str


class Look:
    """A target in a world: what it is, or the failure that stands in its place, and the frames that say so."""

    __slots__ = ("_documents", "_frames", "_known", "current", "failure", "until", "world")

    def __init__(
        self, known: LocalCache[tuple[Target, str], _Known], world: World, answer: Current | ConfigServerError
    ) -> None:
        self.world = world
        self.current = answer if isinstance(answer, Current) else None
        self.failure = answer if isinstance(answer, ConfigServerError) else None
        self.until = time.monotonic() + LOOK_SECONDS
        self._known = known
        self._frames: dict[tuple[str, str | None, bool], Frame] = {}
        self._documents: dict[str, _Document] = {}

    def takes(self, former: Look | None) -> None:
        """Go on with the frames of `former`, if it was the same."""
        if former is not None and former.current is not None and self.current == former.current:
            self._frames, self._documents = former._frames, former._documents

    def content(self, view: View, base: str | None, *, patches: bool) -> Frame:
        """The configuration, for a subscriber that holds `base` (an etag, or None).

        As a patch when the subscriber takes `patches`, what it holds is known here, and the patch is smaller than half
        of the document; else as the whole document.
        """
        key = (view.value, base, patches)
        frame = self._frames.get(key)
        if frame is None:
            assert self.current is not None
            before = self._known.get((self.current.resolution.target, base)) if base else None
            if before is None and base is not None:
                return self.content(view, None, patches=patches)  # a client may claim to hold anything: it is not kept
            frame = self._frames[key] = self._written(self.current, view, base if patches else None, before)
        return frame

    def state(self) -> Frame:
        """Only the staleness has changed: the document is the one that the subscriber holds."""
        assert self.current is not None
        key = ("state", None, False)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = change(_told(self.current, "state"))
        return frame

    def _written(self, current: Current, view: View, base: str | None, before: _Known | None) -> Frame:
        resolution = current.resolution
        now = _Known(resolution.effective, resolution.secrets.versions)
        self._known.put((resolution.target, resolution.etag), now)
        document = self._document(resolution, view)
        told = replace(_told(current, "put"), keys=_changed(before, now), doc=document.text, sum=document.sum)
        if before is not None and base is not None:
            operations = text_of(patch(before.sealed(view), now.sealed(view), document.values))
            if 2 * len(operations) < len(document.text):
                told = replace(told, op="patch", base=base, doc=None, patch=operations)
        return change(told)

    def _document(self, resolution: Resolution, view: View) -> _Document:
        found = self._documents.get(view.value)
        if found is None:
            values = resolution.document(view)
            digest = hashlib.sha256(canonical(values)).hexdigest()
            found = self._documents[view.value] = _Document(values, text_of(values), digest)
        return found


class Looks:
    """Thread-safe. Bounded: an etag that is forgotten costs a whole document instead of a patch."""

    def __init__(self, engine: ConfigEngine, capacity: int = 4096) -> None:
        self._engine = engine
        self._known: LocalCache[tuple[Target, str], _Known] = LocalCache(capacity)
        self._looks: dict[Target, Look] = {}
        self._sync: tuple[World, float, Frame] | None = None
        self._sweep_at = 0.0

    def at(self, world: World, target: Target) -> Look:
        """What `target` is in `world`. The answer is at most LOOK_SECONDS old."""
        look = self._looks.get(target)
        now = time.monotonic()
        if look is not None and look.world is world and now < look.until:
            return look
        fresh = Look(self._known, world, self._found(world, target))
        fresh.takes(look)
        self._looks[target] = fresh
        if now >= self._sweep_at:
            self._sweep(now)
        return fresh

    def gone(self, target: Target, etag: str | None) -> Frame:
        """The label or target is not there any more."""
        return change(Change(target.topic, "del", etag or "", "", ""))

    def sync(self, world: World) -> Frame:
        """The same for all who are told of this revision at this moment."""
        known, now = self._sync, time.monotonic()
        if known is None or known[0] is not world or known[1] < now:
            known = self._sync = (world, now + MOMENT, sync(str(world.rev), now_text()))
        return known[2]

    def _found(self, world: World, target: Target) -> Current | ConfigServerError:
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            return self._engine.current(world, located, head)
        except ConfigServerError as failure:
            return failure

    def _sweep(self, now: float) -> None:
        """Forget the frames of whom nobody has asked for a while: they may hold secrets."""
        self._sweep_at = now + KEEP_SECONDS
        self._looks = {target: look for target, look in list(self._looks.items()) if now < look.until + KEEP_SECONDS}


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
    return {key: _mark(node, known) for key, node in leaf_nodes(known.effective.values)}


def _mark(node: Node, known: _Known) -> object:
    return known.mark(node) if isinstance(node, Template) else (type(node), node)
