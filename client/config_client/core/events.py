"""What a driver tells the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from config_client.core.ladder import Trouble
from config_client.document import Document


@dataclass(frozen=True, slots=True)
class Fetch:
    """The program asks for a first configuration; `cached` is what lies on disk."""

    cached: Document | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """The program wants to be told of changes from now on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream `link` is open: the WebSocket's handshake, or the answer of an event stream, has come."""

    link: int


@dataclass(frozen=True, slots=True)
class Received:
    """A frame's JSON."""

    link: int
    text: str | bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A stream is over, or was never opened. `code` is a WebSocket's close code, `status` that of an HTTP refusal."""

    link: int
    trouble: Trouble
    reason: str = ""
    code: int = 0
    status: int = 0
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """An HTTP answer; `headers` by lower-case names."""

    ask: int
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """No HTTP answer came, or there was no token to ask with."""

    ask: int
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The program has looked at a configuration. `reason` says why it does not take it."""

    etag: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """Whether the token's source had another token than the one that the stream was opened with."""

    link: int
    new: bool


Event: TypeAlias = Fetch | Listen | Opened | Received | Ended | Answered | Failed | Judged | Renewed
