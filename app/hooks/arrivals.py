"""After the word of a push: has it fetched, once for many words, and again until what was announced is there."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from app.errors import BusUnavailable, RepositoryUnavailable
from app.hooks.forges import Announced, Word

#: Words that are remembered, so that a replayed one does nothing.
_REMEMBERED: Final = 10_000
#: Announced commits that are waited for; of more, each is fetched for once.
_MAX_WAITING: Final = 200
#: At least so long between two fetches that are asked for, in seconds: the words of that time are one.
_TOGETHER: Final = 0.05

log = structlog.get_logger(__name__)


class Arrivals:
    """A thread that does what may take time. `heard` returns at once.

    `hint` asks all hosts to fetch. `is_there` tells whether a branch has come to a commit; it may raise
    RepositoryUnavailable. `first` tells all workers' first word of an id apart from the others, and may raise
    BusUnavailable. `retries` are the pauses (seconds) after which a fetch is asked for again; `window` is how long a
    word is remembered.
    """

    def __init__(
        self,
        hint: Callable[[], object],
        is_there: Callable[[Announced], bool],
        first: Callable[[str], bool],
        *,
        retries: Sequence[float],
        window: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hint = hint
        self._is_there = is_there
        self._first = first
        self._retries = tuple(retries)
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()  # guards _seen and _heard
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._heard: list[tuple[str, Word]] = []
        self._waiting: dict[Announced, tuple[int, float]] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def heard(self, body: bytes, word: Word) -> bool:
        """A signed word. False when this worker has heard the very same within the window; then nothing is done."""
        name, now = hashlib.sha256(body).hexdigest(), self._clock()
        with self._lock:
            while self._seen and (len(self._seen) > _REMEMBERED or next(iter(self._seen.values())) < now):
                self._seen.popitem(last=False)
            if word.is_dated and name in self._seen:
                return False
            self._seen[name] = now + self._window
            self._heard.append((name, word))
        self._wake.set()
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._pause())
            self._wake.clear()
            try:
                self._look()
            except Exception:  # the loop must outlive whatever a look did not foresee; it is logged with its stack
                log.exception("hooks.failed")
            self._stop.wait(_TOGETHER)

    def _look(self) -> None:
        """Ask for one fetch if there is a new word, or a commit that should be there by now."""
        with self._lock:
            heard, self._heard = self._heard, []
        new = [word for name, word in heard if not word.is_dated or self._is_first(name)]
        now = self._clock()
        due = [each for each, (_, at) in self._waiting.items() if at <= now]
        missing = [each for each in due if not self._has_arrived(each)]
        if (new or missing) and not self._stop.is_set():
            self._hint()
        for each in due:
            self._go_on(each, missing=each in missing)
        for each in {each for word in new for each in word.announced}:
            if each not in self._waiting and len(self._waiting) < _MAX_WAITING and self._retries:
                self._waiting[each] = (0, now + self._retries[0])

    def _go_on(self, each: Announced, *, missing: bool) -> None:
        tried = self._waiting.pop(each)[0] + 1
        if missing and tried < len(self._retries):
            self._waiting[each] = (tried, self._clock() + self._retries[tried])
        elif missing:
            log.warning("hooks.commit_not_arrived", label=each.label, commit=each.commit)

    def _has_arrived(self, each: Announced) -> bool:
        try:
            return self._is_there(each)
        except RepositoryUnavailable:
            return False

    def _is_first(self, name: str) -> bool:
        try:
            return self._first(name)
        except BusUnavailable:
            return True

    def _pause(self) -> float | None:
        """Seconds until the next commit is due; None while none is waited for."""
        if not self._waiting:
            return None
        return max(0.0, min(at for _, at in self._waiting.values()) - self._clock())
