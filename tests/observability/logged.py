"""The log as it is written, in a string."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.observability import clear_request, configure_logging


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Logging into a string, and afterwards as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # so that `force` does not close pytest's
    stream = io.StringIO()
    configure_logging("info", stream)
    yield stream
    clear_request()
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]
