"""The client's decisions: what to ask, what to follow by, what to take, when to come back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config_client.core import actions as do
from config_client.core import events
from config_client.core.acks import Acks
from config_client.core.answers import Outcome, outcome
from config_client.core.holder import Holder
from config_client.core.inbox import Inbox, Mismatch, parsed
from config_client.core.ladder import TRANSPORTS, Ladder, Trouble
from config_client.core.link import Link
from config_client.core.subject import Subject, ack
from config_client.document import Document, Revs
from config_client.errors import ConfigRefused, ConfigUnavailable
from config_client.timings import Timings

#: Close codes that say that this way is no good, not that it is over.
_NO_GOOD = frozenset({1002, 1003, 1007, 1009, 1010, 4400, 4502})
_NOT_MINE = 4403


class Core:
    """Feed it with `handle` and, at `due` at the latest, `tick`; do what they return, in order. One thread at a time.

    `now` is monotonic seconds. `draw(low, high)` is uniformly random.
    """

    def __init__(
        self,
        subject: Subject,
        timings: Timings,
        *,
        transports: Sequence[str] = TRANSPORTS,
        fail_fast: bool = False,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._subject = subject
        self._timings = timings
        self._fail_fast = fail_fast
        self._draw = draw
        self._ladder = Ladder(transports, timings, draw)
        self._revs = Revs()
        self._out: list[do.Action] = []
        self._holder = Holder(self._out.append)
        self._numbers = 0
        self._asked: dict[int, tuple[str, float]] = {}  # number -> what for, and when
        self._link: Link | None = None
        self._listening = False
        self._fetch: _Fetching | None = None
        self._cached: Document | None = None
        self._next_at: float | None = None
        self._repoll_at: float | None = None
        self._renew_at: float | None = None
        self._acks = Acks()
        self._on: Mapping[type, Callable[[Any, float], None]] = {
            events.Fetch: self._on_fetch,
            events.Listen: self._on_listen,
            events.Opened: self._on_opened,
            events.Received: self._on_received,
            events.Ended: self._on_ended,
            events.Answered: self._on_answer,
            events.Failed: self._on_answer,
            events.Judged: self._on_judged,
            events.Renewed: self._on_renewed,
        }
        self._on_frame: Mapping[str, Callable[[Link, Mapping[str, Any], float], None]] = {
            "hello": self._hello,
            "subscribed": self._subscribed,
            "change": lambda link, frame, _now: link.inbox.stage(frame),
            "sync": self._sync,
            "auth_expiring": self._auth_expiring,
            "error": self._error,
            "goodbye": self._goodbye,
        }

    # What a driver uses

    @property
    def held(self) -> Document | None:
        return self._holder.held

    @property
    def following_by(self) -> str:
        """The way that gets through now; "" while none does."""
        transport = self._ladder.transport
        if self._link is not None:
            return transport if self._link.syncs else ""
        asking = self._listening and transport in ("long-poll", "poll") and self._ladder.is_proven
        return transport if asking else ""

    def stale(self, now: float) -> tuple[str, ...]:
        """Why what is held may be old; empty when it is not."""
        return self._holder.stale(now - self._timings.unconfirmed if self._listening else None)

    def handle(self, event: events.Event, now: float) -> list[do.Action]:
        self._on[type(event)](event, now)
        return self._taken(now)

    def tick(self, now: float) -> list[do.Action]:
        """What the time brings."""
        if self._fetch is not None and self._fetch.at is not None and now >= self._fetch.at:
            self._ask_first(self._fetch, now)
        link = self._link
        if link is not None and now >= link.deadline:
            self._out.append(do.Close(link.number))
            silent = link.syncs > 1
            self._finish(link, Trouble.LOST if silent else Trouble.BROKEN, "nothing was heard in time", now)
        elif self._listening and self._ladder.climb_at is not None and now >= self._ladder.climb_at:
            self._climb(now)
        if self._repoll_at is not None and now >= self._repoll_at:
            self._repoll_at = None
            self._ask_config("repoll", now)
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = None
            if self._link is not None:
                self._out.append(do.Renew(self._link.number))
        if self._next_at is not None and now >= self._next_at:
            self._next_at = None
            self._attempt(now)
        return self._taken(now)

    @property
    def due(self) -> float | None:
        """When `tick` has something to do."""
        times = [self._next_at, self._repoll_at, self._renew_at, self._acks.due(self._link)]
        times.append(self._fetch.at if self._fetch else None)
        times.append(self._link.deadline if self._link else None)
        times.append(self._ladder.climb_at if self._listening else None)
        return min((at for at in times if at is not None), default=None)

    def _taken(self, now: float) -> list[do.Action]:
        if self._link is not None and (said := self._acks.take(self._link, now)) is not None:
            self._say(self._link, said, now)
        out, self._out[:] = list(self._out), []
        return out

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _note(self, name: str, level: str = "info", **fields: Any) -> None:
        self._out.append(do.Note(name, fields, level))

    # The first configuration

    def _on_fetch(self, event: events.Fetch, now: float) -> None:
        self._cached = event.cached
        self._fetch = _Fetching(until=now + self._timings.initial)
        self._ask_first(self._fetch, now)

    def _ask_first(self, fetch: _Fetching, now: float) -> None:
        fetch.at = None
        if now >= fetch.until:
            self._fetched(ConfigUnavailable(f"no configuration within {self._timings.initial:g} s: {fetch.reason}"))
        else:
            self._ask_config("first", now, timeout=min(self._timings.request, fetch.until - now))

    def _first(self, found: Outcome, now: float) -> None:
        """The answer to `fetch_initial_config`."""
        fetch = self._fetch
        if fetch is None:
            return
        if found.trouble is None:
            self._take(found, now)
        elif found.is_final:
            self._fetched(ConfigRefused(found.reason, found.status, found.type))
        elif self._fail_fast:
            self._fetched(ConfigUnavailable(found.reason))
        elif self.held is not None:
            self._fetched(None)
        elif self._cached is not None:
            self._note("from_disk", "warning", reason=found.reason)
            self._holder.offer(self._cached, None)
        else:
            fetch.reason, fetch.attempts = found.reason, fetch.attempts + 1
            most = min(self._timings.backoff_most, self._timings.backoff * 2 ** (fetch.attempts - 1))
            fetch.at = min(fetch.until, now + found.retry_after + self._draw(0, most))
            self._note("fetch_failed", "warning", reason=found.reason, again_in=round(fetch.at - now, 3))
        self._settle()

    def _fetched(self, error: ConfigRefused | ConfigUnavailable | None) -> None:
        self._fetch = None
        self._out.append(do.Fetched(error))

    def _settle(self) -> None:
        """The first configuration is there, or the program does not take it."""
        if self._fetch is None or self._holder.judging:
            return
        if self.held is not None:
            self._fetched(None)
        elif self._holder.refusal is not None:
            self._fetch = None
            self._out.append(do.Fetched(self._holder.refusal))

    # Asking

    def _ask_config(self, purpose: str, now: float, *, wait: float = 0, timeout: float = 0) -> None:
        number = self._number()
        self._asked[number] = (purpose, now)
        headers = {"accept": "application/json", **self._instance()}
        known = self._known
        if known is not None and known.tag:
            headers["if-none-match"] = known.tag
        if self._revs.last:
            headers["x-config-rev"] = self._revs.last
        path = self._subject.config_path(wait)
        self._out.append(do.Ask(number, "GET", path, headers, wait + (timeout or self._timings.request)))

    @property
    def _known(self) -> Document | None:
        """What a server may answer 304 to."""
        return self._holder.told or (self._cached if self.held is None else None)

    def _instance(self) -> dict[str, str]:
        return {"x-config-instance": self._subject.instance} if self._subject.instance else {}

    def _on_answer(self, event: events.Answered | events.Failed, now: float) -> None:
        purpose, asked_at = self._asked.pop(event.ask, ("", 0.0))
        if purpose in ("", "ack"):  # given up meanwhile; or said, and if it did not arrive, the next one will
            return
        found = outcome(event)
        if found.trouble is None and self._revs.is_older(found.rev):
            self._note("older", rev=found.rev, last=self._revs.last)
            found = Outcome(trouble=Trouble.BUSY, reason="the answer is older than what is held")
        if found.same and self._known is None:  # what it was the same as is no longer held, or never was
            found = Outcome(trouble=Trouble.BROKEN, reason="304, and nothing was named")
        if purpose == "first":
            self._first(found, now)
        elif purpose == "repoll":
            self._repoll_at = now + self._draw(0.8, 1.2) * self._timings.repoll
            self._take(found, now)
        else:
            self._polled(purpose, found, now, quick=now - asked_at < 1)

    def _polled(self, purpose: str, found: Outcome, now: float, *, quick: bool) -> None:
        if found.trouble is not None:
            self._note("poll_failed", "warning", reason=found.reason)
            self._next_at = now + self._ladder.failed(found.trouble, found.retry_after)
            return
        if not self._ladder.is_proven:
            self._note("connected", transport=purpose)
        self._ladder.works(now)
        before = self._holder.told
        self._take(found, now)
        told = self._holder.told
        news = before is None or told is None or told.etag != before.etag
        if purpose == "poll" or told is None or not told.tag:
            self._next_at = now + self._draw(0.8, 1.2) * self._timings.poll
        else:  # one that is answered at once with nothing new comes from a server that is going away
            self._next_at = now + (0 if news or not quick else self._draw(0, self._timings.backoff))

    def _take(self, found: Outcome, now: float) -> None:
        """An answer to any of the questions above."""
        if found.document is not None:
            self._revs.saw(found.rev)
            self._offer(found.document, now)
        elif found.same:
            self._revs.saw(found.rev)
            if (known := self._known) is not None:
                self._offer(replace(known, on_disk=False, gone=False, rev=found.rev or known.rev), now)

    # Following

    def _on_listen(self, _event: events.Listen, now: float) -> None:
        if not self._listening:
            self._listening = True
            self._next_at = now

    def _attempt(self, now: float) -> None:
        transport, told = self._ladder.transport, self._holder.told
        if transport in ("long-poll", "poll"):
            known = told is not None and told.tag
            self._ask_config(transport, now, wait=self._timings.long_poll if transport == "long-poll" and known else 0)
            return
        number = self._number()
        self._link = Link(number, transport, Inbox(told), now, now + self._timings.connect)
        if transport == "websocket":
            self._out.append(do.OpenSocket(number, "/v1/stream", self._instance()))
        else:
            path = self._subject.events_path(told.etag if told else "")
            self._out.append(do.OpenEvents(number, path, {"accept": "text/event-stream", **self._instance()}))

    def _climb(self, now: float) -> None:
        """Leave what works for a moment, to try what is better."""
        if self._link is not None:
            self._out.append(do.Close(self._link.number))
            self._forget_link()
        polls = [number for number, (purpose, _) in self._asked.items() if purpose in ("poll", "long-poll")]
        for number in polls:
            del self._asked[number]
        self._ladder.climb()
        self._next_at = now

    def _forget_link(self) -> None:
        self._link = self._repoll_at = self._renew_at = None
        self._acks.drop()

    def _on_opened(self, event: events.Opened, _now: float) -> None:
        link = self._link
        if link is not None and link.number == event.link and link.is_socket:
            self._subscribe(link)

    def _subscribe(self, link: Link) -> None:
        etag = link.inbox.told.etag if link.inbox.told else ""
        self._out.append(do.Send(link.number, self._subject.subscribe(etag, self._revs.last)))

    def _on_received(self, event: events.Received, now: float) -> None:
        link = self._link
        if link is None or link.number != event.link:
            return
        link.heard(now, self._timings.heartbeats)
        try:
            frame = parsed(event.text)
            heard = self._on_frame.get(frame["type"])
            if heard is not None:
                heard(link, frame, now)
        except Mismatch as mismatch:
            self._refetch(link, str(mismatch), now)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self._refetch(link, f"not a frame of cfg.v1: {type(error).__name__}", now)

    def _refetch(self, link: Link, why: str, now: float) -> None:
        """What came was no good. All of it again; where that does not help, by another stream."""
        self._note("mismatch", "warning", reason=why)
        link.inbox.drop()
        self._holder.told = None
        link.mismatches += 1
        if link.is_socket and link.mismatches <= 2:
            self._subscribe(link)
        else:
            self._out.append(do.Close(link.number))
            self._finish(link, Trouble.LOST if link.syncs else Trouble.BROKEN, why, now)

    def _hello(self, link: Link, frame: Mapping[str, Any], now: float) -> None:
        link.connection, link.heartbeat = str(frame["conn"]), frame["hb_ms"] / 1000
        link.heard(now, self._timings.heartbeats)

    def _subscribed(self, link: Link, frame: Mapping[str, Any], _now: float) -> None:
        link.inbox.topic = str(frame["topics"][0])

    def _sync(self, link: Link, frame: Mapping[str, Any], now: float) -> None:
        rev = str(frame["rev"])
        if self._revs.is_older(rev):
            link.inbox.discard()
            self._note("older", rev=rev, last=self._revs.last)
            return
        if not link.inbox.topic:  # a heartbeat between hello and the answer to subscribe
            return
        self._revs.saw(rev)
        link.syncs += 1
        if link.syncs == 1:
            self._ladder.works(now)
            self._repoll_at = now + self._draw(0.8, 1.2) * self._timings.repoll
            self._note("connected", transport=link.transport)
        document = link.inbox.close(rev)
        if document is not None:
            self._offer(document, now)
        else:
            self._holder.confirm(now, rev)
            if link.syncs == 1:
                self._acknowledge()

    def _auth_expiring(self, link: Link, frame: Mapping[str, Any], now: float) -> None:
        link.expires = now + frame["in_ms"] / 1000
        self._out.append(do.Renew(link.number))

    def _on_renewed(self, event: events.Renewed, now: float) -> None:
        link = self._link
        if link is None or link.number != event.link:
            return
        if not event.new:
            self._renew_at = now + max(1.0, (link.expires - now) / 5)
        elif not link.is_socket:  # it comes back under the new token, with what it holds
            self._out.append(do.Close(link.number))
            self._forget_link()
            self._next_at = now
        if event.new:
            self._note("token_renewed")

    def _error(self, link: Link, frame: Mapping[str, Any], now: float) -> None:
        self._note("server_error", "warning", code=str(frame["code"]), retry=bool(frame["retry"]))
        if frame.get("topic") is not None and not frame["retry"]:
            self._out.append(do.Close(link.number))
            link.back_in = self._draw(0.5, 1) * self._timings.backoff_most
            self._finish(link, Trouble.LOST, str(frame["code"]), now)

    def _goodbye(self, link: Link, frame: Mapping[str, Any], _now: float) -> None:
        link.back_in, link.code = frame["retry_ms"] / 1000, int(frame["code"])

    def _on_ended(self, event: events.Ended, now: float) -> None:
        link = self._link
        if link is None or link.number != event.link:
            return
        link.code = link.code or event.code
        trouble = Trouble.LOST if link.syncs and event.trouble is Trouble.BROKEN else event.trouble
        self._finish(link, trouble, event.reason, now, event.retry_after)

    def _finish(self, link: Link, trouble: Trouble, reason: str, now: float, retry_after: float = 0.0) -> None:
        """The stream is over; when to open the next one."""
        self._forget_link()
        if link.code in _NO_GOOD:
            delay = self._ladder.failed(Trouble.REFUSED)
        elif link.code == _NOT_MINE:
            delay = self._draw(0.5, 1) * self._timings.backoff_most
        elif link.back_in is not None:
            delay = link.back_in
        else:
            delay = self._ladder.failed(trouble, retry_after)
        self._next_at = now + delay
        fields = {"transport": link.transport, "reason": reason, "code": link.code, "again_in": round(delay, 3)}
        self._note("disconnected", "info" if link.syncs else "warning", **fields)

    # Taking and acknowledging

    def _offer(self, document: Document, now: float) -> None:
        self._holder.offer(document, now)
        self._acknowledge()

    def _on_judged(self, event: events.Judged, _now: float) -> None:
        self._holder.judged(event.etag, event.reason)
        self._acknowledge()
        self._settle()

    def _acknowledge(self) -> None:
        """Say on the stream, soon, what has become of what the server told last."""
        link, said = self._link, self._holder.said
        if link is not None and link.syncs and link.inbox.topic and said is not None:
            etag, reason = said
            if link.inbox.told is not None and link.inbox.told.etag == etag:
                self._acks.put(ack(self._revs.last, link.inbox.topic, etag, reason))

    def _say(self, link: Link, said: dict[str, str], now: float) -> None:
        """A stream by HTTP is acknowledged by HTTP."""
        if link.is_socket:
            self._out.append(do.Send(link.number, json.dumps({"type": "ack", **said})))
            return
        number = self._number()
        self._asked[number] = ("ack", now)
        headers = {"content-type": "application/json"}
        body = json.dumps({"conn": link.connection, **said})
        self._out.append(do.Ask(number, "POST", "/v1/acks", headers, self._timings.request, body))


class _Fetching:
    """The wait for a first configuration: until when, when to ask again, and why not yet."""

    __slots__ = ("at", "attempts", "reason", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.at: float | None = None
        self.attempts = 0
        self.reason = ""
