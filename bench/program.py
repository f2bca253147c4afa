"""A program beside the server: started, waited for, and ended with the block that it is used in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.processes import end, launch, wait_ready


class Program:
    """A context manager. It writes what it says to `directory`/log."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, *, timeout: float, **environment: str
    ) -> None:
        """Returns once it `answers`; of our environment it gets PATH alone. Raises NotReady."""
        log = directory / "log"
        self._process = launch(command, log, cwd=directory, env={"PATH": os.environ["PATH"], **environment})
        try:
            wait_ready(name, self.answers, self._process, log, timeout=timeout)
        except BaseException:  # nobody would end it
            end(self._process, timeout=10)
            raise

    def answers(self) -> bool:
        """Whether it does what it is there for."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process, timeout=10)
