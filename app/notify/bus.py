"""The bus: a word between workers and hosts that something may have moved. What moved is read from the cursor."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any, Protocol

import redis
import structlog

from app.cache import RedisLink
from app.errors import BusUnavailable
from app.observability import current_cause

log = structlog.get_logger(__name__)

#: Called with the message's kind: "moved" (the cursor rose, or a message may have been lost) or "hint" (fetch now);
#: and with its cause (`current_cause`: the request behind it), for log and traces.
OnMessage = Callable[[str, str | None], None]

_CAUSE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}( 00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?")


def _silent(kind: str, cause: str | None) -> None:
    """Nobody listens."""


class Bus(Protocol):
    """Losing a message delays a change until the next look at the cursor; it never loses the change."""

    def start(self, on_message: OnMessage) -> None: ...

    def hint(self) -> None:
        """Ask every host's puller to fetch now. Never raises: a hint that is lost is made good by the next poll."""

    def moved(self) -> None:
        """Let every worker look now at what is shared. Never raises: each looks by itself every few seconds."""

    def close(self) -> None: ...


class LocalBus:
    """Between the threads of one process."""

    def __init__(self) -> None:
        self._on_message: OnMessage = _silent

    def start(self, on_message: OnMessage) -> None:
        self._on_message = on_message

    def hint(self) -> None:
        self._on_message("hint", current_cause())

    def moved(self) -> None:
        self._on_message("moved", current_cause())

    def close(self) -> None:
        self._on_message = _silent


class RedisBus:
    """Pub/sub of Redis, on a thread and a connection of its own that comes back by itself."""

    def __init__(self, link: RedisLink, channel: str, *, pause: float, read_timeout: float = 1.0) -> None:
        self._link = link
        self._channel = channel
        self._pause = pause
        self._read_timeout = read_timeout
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False
        self._on_message: OnMessage = _silent

    def start(self, on_message: OnMessage) -> None:
        self._on_message = on_message
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._thread.start()

    def hint(self) -> None:
        self._publish({"hint": "fetch"})

    def moved(self) -> None:
        self._publish({})

    def _publish(self, message: dict[str, str]) -> None:
        cause = current_cause()
        text = json.dumps({"v": 1, **message, **({"request": cause} if cause else {})})
        try:
            self._link.call(lambda client: client.publish(self._channel, text))
        except BusUnavailable:
            log.warning("bus.word_not_sent")

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(3 * self._read_timeout)  # longer only while it connects to a server that hangs

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError) as exc:
                self._note_loss(type(exc).__name__)
                self._stop.wait(self._pause)
            except Exception:  # the loop must outlive whatever a listener did not foresee; it is logged with its stack
                log.exception("bus.failed")
                self._stop.wait(self._pause)

    def _note_loss(self, error: str) -> None:
        """One line for one loss, however many attempts follow."""
        if not self._lost:
            log.warning("bus.connection_lost", error=error)
        self._lost = True

    def _listen(self) -> None:
        """One connection's life. redis-py re-subscribes silently after a loss; so we reconnect ourselves instead."""
        client = self._link.listener(self._read_timeout * 2)
        try:
            with client.pubsub() as pubsub:  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
                pubsub.subscribe(self._channel)
                while not self._stop.is_set():
                    message = pubsub.get_message(timeout=self._read_timeout)
                    kind = kind_of(message) if message else None
                    if kind:
                        self._lost = False
                        self._on_message(kind, cause_of(message) if message else None)
        finally:
            client.close()


def kind_of(message: dict[str, Any]) -> str | None:
    """A subscription counts as "moved": messages may have passed before it. None: nothing that we know."""
    if message["type"] != "message":
        return "moved"
    try:
        data = json.loads(message["data"])
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("v") != 1:
        return None
    return "hint" if data.get("hint") == "fetch" else "moved"


def cause_of(message: dict[str, Any]) -> str | None:
    """The request behind a message of ours. Whoever can write to Redis may write any: it is for log and traces."""
    if message["type"] != "message":
        return None
    found = json.loads(message["data"]).get("request")
    return found if isinstance(found, str) and _CAUSE.fullmatch(found) else None
