"""Sends notices to one receiver: in order, signed, again and again for a while, and never in anybody's way."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import requests
import structlog

from app.notices.notice import Notice
from app.notices.signing import signature

#: Notices that may wait for a receiver that does not answer. The newest are dropped then: they are told of.
CAPACITY: Final = 1000
#: Seconds to connect, and for the answer.
TIMEOUT: Final = (2.0, 5.0)
_ANSWER_BYTES: Final = 4096

log = structlog.get_logger(__name__)

#: Told how a notice ended: delivered, failed or dropped.
OnOutcome = Callable[[str], None]


class Outbox:
    """One thread for one URL. What has not been delivered when the server ends is lost, and the log says how many."""

    def __init__(self, url: str, key: bytes, *, retries: Sequence[float], on_outcome: OnOutcome) -> None:
        """`retries` are the pauses (seconds) before a notice is sent again; after the last one it is given up."""
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._key = key
        self._retries = tuple(retries)
        self._on_outcome = on_outcome
        self._waiting: deque[Notice] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more after the attempt under way."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """The same, and wait for that attempt, no longer than a receiver may take."""
        self.stop()
        if self._thread is not None:
            self._thread.join(sum(TIMEOUT))
            self._thread = None
        if self._waiting:
            log.warning("notices.lost", host=self._host, count=len(self._waiting))

    def put(self, notice: Notice) -> None:
        """Never blocks."""
        if len(self._waiting) >= CAPACITY:
            self._on_outcome("dropped")
            return
        self._waiting.append(notice)
        self._wake.set()

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = True  # proxies and CA bundles, as for the identity provider
            while not self._stop.is_set():
                self._wake.wait()
                self._wake.clear()
                while self._waiting and not self._stop.is_set():
                    outcome = self._delivered(session, self._waiting[0])
                    if outcome is not None:
                        self._waiting.popleft()
                        self._on_outcome(outcome)

    def _delivered(self, session: requests.Session, notice: Notice) -> str | None:
        """How it ended; None when the server ends first."""
        body = notice.as_bytes()
        reason = ""
        for pause in (0.0, *self._retries):
            if self._stop.wait(pause):
                return None
            reason, again = self._attempt(session, notice.id, body)
            if not reason:
                return "delivered"
            if not again:
                break
        log.warning("notice.failed", host=self._host, type=notice.type, id=notice.id, reason=reason)
        return "failed"

    def _attempt(self, session: requests.Session, identity: str, body: bytes) -> tuple[str, bool]:
        """("", _) when the receiver has taken it, else why not and whether that may change."""
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "config-server",
            "webhook-id": identity,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._key, identity, now, body),
        }
        try:
            with session.post(
                self._url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as answer:
                answer.raw.read(_ANSWER_BYTES)
                status = answer.status_code
        except (requests.RequestException, OSError) as failure:
            return type(failure).__name__, True
        if 200 <= status < 300:
            return "", False
        return f"HTTP {status}", status >= 500 or status in (408, 425, 429)
