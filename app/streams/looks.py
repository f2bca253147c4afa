"""What a target is at this moment, found once and written once for all who follow it."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from app.cache import LocalCache
from app.effective import canonical, changed_keys, patch, sealed
from app.engine import ConfigEngine, Current, Resolution, World
from app.errors import ConfigServerError
from app.model import Json, Target, Template, View
from app.notify import now_text
from app.notify.wire import Change, Frame, Text, change, sync, text_of

#: How long a look is good for, in seconds: what changes without a revision (Vault went away) is seen after that.
LOOK_SECONDS = 1.0
#: How long a `sync` may be shared, in seconds: it tells the time.
MOMENT = 0.05
#: How long the frames of a look are kept for those who come later, in seconds.
KEEP_SECONDS = 10.0
#: Clients with more topics than these have hardly ever the same ones.
SHARED_TOPICS = 4

RESOLVED, MASKED = "resolved", "masked"
KINDS: Mapping[str, View] = {RESOLVED: View.RESOLVED, MASKED: View.MASKED}

Holding: TypeAlias = tuple[tuple[Target, str | None], ...]


class _Known:
    """What a configuration was, with its references: no plaintext is kept to tell what is new in the next one."""

    __slots__ = ("_effective", "_sealed", "_versions")

    def __init__(self, resolution: Resolution) -> None:
        self._effective = resolution.effective
        self._versions = resolution.secrets.versions
        self._sealed: dict[str, object] | None = None

    def masked(self) -> dict[str, object]:
        """The document with the same in place of every secret, as a viewer holds it."""
        if not self._effective.references:
            return self.sealed()
        return sealed(self._effective.values, lambda _template: ())

    def sealed(self) -> dict[str, object]:
        """The document with a mark in place of each secret, equal where the secret is."""
        if not self._effective.references:
            return dict(self._effective.values)
        if self._sealed is None:
            self._sealed = sealed(self._effective.values, self._mark)
        return self._sealed

    def _mark(self, template: Template) -> tuple[object, ...]:
        return template, *(self._versions.get(reference.text) for reference in template.references)


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
        self, known: LocalCache[tuple[Target, View, str], _Known], world: World, answer: Current | ConfigServerError
    ) -> None:
        self.world = world
        self.current = answer if isinstance(answer, Current) else None
        self.failure = answer if isinstance(answer, ConfigServerError) else None
        self.until = time.monotonic() + LOOK_SECONDS
        self._known = known
        self._frames: dict[tuple[str, str | None, bool], Frame] = {}
        self._documents: dict[str, _Document] = {}

    def writes_as(self, former: Look) -> None:
        """Write what those will ask for who were told of `former`. What cannot be written is seen when they ask."""
        if self.current is None or former.current is None:
            return
        held = former.current.resolution
        with suppress(ConfigServerError):
            for kind, patches in {(kind, patches) for kind, _, patches in list(former._frames) if kind in KINDS}:
                self.content(KINDS[kind], held.etag_in(KINDS[kind]), patches=patches)

    def takes(self, former: Look | None) -> None:
        """Go on with the frames of `former`, if it was the same."""
        if former is not None and former.current is not None and self.current == former.current:
            self._frames, self._documents = former._frames, former._documents

    def content(self, view: View, base: str | None, *, patches: bool) -> Frame:
        """The configuration, for a subscriber that holds `base` (an etag, or None).

        As a patch when the subscriber takes `patches`, what it holds is known here, and the patch is smaller than half
        of the document; else as the whole document.
        """
        key = (MASKED if view is View.MASKED else RESOLVED, base, patches)
        frame = self._frames.get(key)
        if frame is None:
            assert self.current is not None
            before = self._known.get((self.current.resolution.target, view, base)) if base else None
            if before is None and base is not None:
                return self.content(view, None, patches=patches)  # a client may claim to hold anything: it is not kept
            frame = self._frames[key] = self._written(self.current, view, base if patches else None, before)
        return frame

    def state(self, view: View) -> Frame:
        """Only the staleness has changed: the document is the one that the subscriber holds."""
        assert self.current is not None
        key = ("state", view.value, False)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = change(_told(self.current, "state", view))
        return frame

    def _written(self, current: Current, view: View, base: str | None, before: _Known | None) -> Frame:
        resolution = current.resolution
        now = self._remembered(resolution, view)
        document = self._document(resolution, view)
        keys = changed_keys(before.sealed(), now.sealed()) if before else tuple(resolution.effective.origins)
        told = replace(_told(current, "put", view), keys=keys, doc=document.text, sum=document.sum)
        if before is not None and base is not None:
            old, new = (each.masked() if view is View.MASKED else each.sealed() for each in (before, now))
            operations = text_of(patch(old, new, document.values))
            if 2 * len(operations) < len(document.text):
                told = replace(told, op="patch", base=base, doc=None, patch=operations)
        return change(told)

    def _remembered(self, resolution: Resolution, view: View) -> _Known:
        """For those who hold it when the next one comes."""
        key = (resolution.target, view, resolution.etag_in(view))
        known = self._known.get(key)
        if known is None:
            known = _Known(resolution)
            self._known.put(key, known)
        return known

    def _document(self, resolution: Resolution, view: View) -> _Document:
        found = self._documents.get(view.value)
        if found is None:
            values = resolution.document(view)
            digest = hashlib.sha256(canonical(values)).hexdigest()
            found = self._documents[view.value] = _Document(values, text_of(values), digest)
        return found


class Looks:
    """Thread-safe. Bounded: an etag that is forgotten costs a whole document instead of a patch."""

    def __init__(self, engine: ConfigEngine, digest_key: bytes, capacity: int = 4096) -> None:
        self._engine = engine
        self._digest_key = digest_key
        self._digests: LocalCache[Holding, str] = LocalCache(capacity)
        self._known: LocalCache[tuple[Target, View, str], _Known] = LocalCache(capacity)
        self._looks: dict[Target, Look] = {}
        self._prepared: dict[Target, Look] = {}
        self._sync: tuple[World, float, Frame] | None = None
        self._sweep_at = 0.0

    def at(self, world: World, target: Target) -> Look:
        """What `target` is in `world`. The answer is at most LOOK_SECONDS old."""
        look = self._looks.get(target)
        now = time.monotonic()
        if look is not None and look.world is world and now < look.until:
            return look
        fresh = self._prepared.pop(target, None)
        if fresh is None or fresh.world is not world:
            fresh = Look(self._known, world, self._found(world, target))
            fresh.takes(look)
        fresh.until = now + LOOK_SECONDS
        self._looks[target] = fresh
        if now >= self._sweep_at:
            self._sweep(now)
        return fresh

    def prepare(self, world: World, target: Target, found: Current | ConfigServerError | None) -> None:
        """Before `world` is installed: write what will be told of `target`, so that its followers are told at once.

        `found` is what it is there, where that is known.
        """
        former = self._looks.get(target)
        if former is not None:
            self._prepared[target] = look = Look(self._known, world, found or self._found(world, target))
            look.writes_as(former)

    def gone(self, target: Target, etag: str | None) -> Frame:
        """The label or target is not there any more."""
        return change(Change(target.topic, "del", etag or "", "", ""))

    def sync(self, world: World) -> Frame:
        """The same for all who are told of this revision at this moment."""
        known, now = self._sync, time.monotonic()
        if known is None or known[0] is not world or known[1] < now:
            known = self._sync = (world, now + MOMENT, sync(str(world.rev), now_text()))
        return known[2]

    def digest(self, held: Holding) -> str:
        """A keyed digest of what a client holds: in a word, for when it comes back."""
        found = self._digests.get(held)
        if found is None:
            text = repr(sorted((target.topic, etag or "") for target, etag in held)).encode()
            found = hmac.digest(self._digest_key, text, hashlib.sha256).hex()[:16]
            if len(held) <= SHARED_TOPICS:
                self._digests.put(held, found)
        return found

    def _found(self, world: World, target: Target) -> Current | ConfigServerError:
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            return self._engine.current(world, located, head)
        except ConfigServerError as failure:
            return failure

    def _sweep(self, now: float) -> None:
        """Forget the frames of whom nobody has asked for a while: they may hold secrets."""
        self._sweep_at = now + KEEP_SECONDS
        for looks in (self._looks, self._prepared):
            for target, look in list(looks.items()):
                if now >= look.until + KEEP_SECONDS:
                    looks.pop(target, None)


def _told(current: Current, op: str, view: View) -> Change:
    resolution = current.resolution
    return Change(
        resolution.target.topic,
        op,
        resolution.etag_in(view),
        resolution.version,
        resolution.head,
        stale=current.stale,
        rewritten=current.rewritten,
    )
