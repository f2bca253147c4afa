"""Single flight: of many callers who want the same thing at once, one fetches it for all."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.errors import ConfigServerError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """One call under way. Its outcome is written once, before `landed` is set, and only read after."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.value: V | None = None
        self.error: ConfigServerError | None = None
        self.succeeded = False


class SingleFlight(Generic[K, V]):
    """Runs one call per key at a time and shares its outcome. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _flights; never held during a call
        self._flights: dict[K, _Flight[V]] = {}

    def do(self, key: K, call: Callable[[], V]) -> V:
        """The outcome of `call`, made here or by another caller of the same key who is at it already.

        An error of ours is shared too, as a copy for each, and forgotten with the flight. A caller who dies otherwise
        (killed, out of time) takes nobody with it: those who waited try again.
        """
        while True:
            with self._lock:
                flight = self._flights.get(key)
                mine = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight()
            if mine:
                return self._fly(key, flight, call)
            flight.landed.wait()  # bounded by the leader's own timeouts
            if flight.error is not None:
                raise copy.copy(flight.error)
            if flight.succeeded:
                return flight.value  # type: ignore[return-value] # set before `succeeded`, and V may itself be Optional

    def _fly(self, key: K, flight: _Flight[V], call: Callable[[], V]) -> V:
        try:
            flight.value = call()
            flight.succeeded = True
            return flight.value
        except ConfigServerError as error:
            flight.error = copy.copy(error)  # without the traceback, whose frames may hold plaintext
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
