"""What is held, what the server has told, what the program is looking at, and what it did not take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from config_client.core import actions as do
from config_client.document import Document
from config_client.errors import ConfigRejected


class Holder:
    """`emit` is given the actions. One document is judged at a time; of those that come meanwhile the last one counts.

    `held` is what the program runs with, `told` the last that the server has told: they differ while the program is
    looking, and after it has refused.
    """

    def __init__(self, emit: Callable[[do.Action], None]) -> None:
        self._emit = emit
        self.held: Document | None = None
        self.told: Document | None = None
        self.confirmed_at: float | None = None
        self.refusal: ConfigRejected | None = None
        self._judging: Document | None = None
        self._waiting: Document | None = None
        self._refused: tuple[str, str] | None = None  # etag, reason

    @property
    def judging(self) -> bool:
        return self._judging is not None

    @property
    def said(self) -> tuple[str, str | None] | None:
        """(etag, why it was refused or None) of what the server told last, once that is decided."""
        if self.told is None or self._judging is not None:
            return None
        if self._refused is not None and self._refused[0] == self.told.etag:
            return self._refused
        return (self.told.etag, None) if self.held is not None and self.held.etag == self.told.etag else None

    def stale(self, since: float | None) -> tuple[str, ...]:
        """`since`: what was confirmed before that (monotonic seconds) is old too."""
        if self.held is None:
            return ()
        reasons = [str(each.get("reason", "stale")) for each in self.held.stale]
        reasons += ["disk"] if self.held.on_disk else []
        reasons += ["gone"] if self.held.gone else []
        if since is not None and not self.held.on_disk and (self.confirmed_at or 0) < since:
            reasons.append("unconfirmed")
        return tuple(reasons)

    def offer(self, document: Document, now: float | None) -> None:
        """What a server has, or (`now` None) what lies on disk."""
        if now is not None:
            self.confirmed_at = now
        if document.gone:
            self._gone()
            return
        self.told = document if document.etag else None
        if self._judging is not None:
            self._waiting = document
        elif self.held is not None and document.etag and self.held.etag == document.etag:
            self._refresh(document)
        elif self._refused is None or self._refused[0] != document.etag:
            self._judging = document
            self._emit(do.Judge(self.held, document))

    def judged(self, etag: str, reason: str | None) -> None:
        document, self._judging = self._judging, None
        if document is None or document.etag != etag:
            self._judging = document
            return
        if reason is None:
            self._install(document)
        else:
            self._refused, self.refusal = (etag, reason), ConfigRejected(reason)
            self._emit(do.Note("rejected", {"version": document.version, "reason": reason}, "error"))
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.offer(waiting, self.confirmed_at)

    def confirm(self, now: float, rev: str) -> None:
        """The server has said that nothing has changed since it told last."""
        self.confirmed_at = now
        if self.held is not None and self.told is not None and self.told.etag == self.held.etag and self.held.on_disk:
            self._refresh(replace(self.told, on_disk=False, rev=rev))

    def _install(self, document: Document) -> None:
        self._refused = self.refusal = None
        self.held = document
        self._emit(do.Install(document))
        self._emit(do.Note("applied", {"version": document.version, "rev": document.rev}))
        if not document.on_disk:
            self._emit(do.Save(document))

    def _refresh(self, document: Document) -> None:
        """The content is what is held; the head, the staleness or where it is known from may be new."""
        held = self.held
        if held is None:
            return
        self._refused = self.refusal = None
        fresh = replace(document, config=held.config, tag=document.tag or held.tag)
        self.told = fresh
        if fresh != held:
            self.held = fresh
            self._emit(do.Install(fresh))

    def _gone(self) -> None:
        if self.held is not None and not self.held.gone:
            self.held = replace(self.held, gone=True)
            self._emit(do.Install(self.held))
            self._emit(do.Note("gone", {"topic": self.held.topic}, "warning"))
