"""Who is asked when the configuration changes, in which order, and what happens when one says no."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from config_client.errors import BindingError
from config_client.snapshot import Change, Snapshot, change_between

log = logging.getLogger("config_client")

Handler: TypeAlias = Callable[[Change], Any]
Check: TypeAlias = Callable[[Snapshot], object]
#: Yields what to call; is sent what that raised, or None; returns the reason of a refusal, or None.
Judgement: TypeAlias = Generator[tuple[Handler, Change], Exception | None, str | None]


class Handlers:
    """Registered once, asked often. Registering is safe from any thread."""

    def __init__(self) -> None:
        self._handlers: tuple[tuple[str, Handler], ...] = ()
        self._checks: tuple[Check, ...] = ()
        self._lock = threading.Lock()  # guards the adding

    def add(self, pattern: str, handler: Handler) -> None:
        with self._lock:
            self._handlers = (*self._handlers, (pattern, handler))

    def add_check(self, check: Check) -> None:
        """`check` raises BindingError for a snapshot that does not fit."""
        with self._lock:
            self._checks = (*self._checks, check)

    def judgement(self, old: Snapshot | None, new: Snapshot) -> Judgement:
        """Checks first, then the handlers in the order of their registration. When one raises, those that have already
        taken the change are asked to go back, the last one first. The first configuration is no change."""
        try:
            for check in self._checks:
                check(new)
        except BindingError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a type's own code, whatever it raises, is its no
            return f"{type(error).__name__}: {error}"
        if old is None:
            return None
        change = change_between(old, new)
        taken: list[Handler] = []
        for pattern, handler in self._handlers:
            if not change.touches(pattern):
                continue
            raised = yield handler, change
            if raised is not None:
                yield from self._back(taken, Change(new, old, change.keys, reverted=True))
                return f"{type(raised).__name__}: {raised}"
            taken.append(handler)
        return None

    def _back(self, taken: list[Handler], change: Change) -> Generator[tuple[Handler, Change], Exception | None, None]:
        for handler in reversed(taken):
            raised = yield handler, change
            if raised is not None:
                log.error("a handler could not go back to the former configuration", exc_info=raised)
