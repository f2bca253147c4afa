"""What the core has a driver do. A driver adds the token to every request and stream; the core never sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from config_client.document import Document
from config_client.errors import ConfigError


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Open a WebSocket (subprotocol cfg.v1) at `path`; told by Opened, Received and Ended with this `link`."""

    link: int
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenEvents:
    """Open an event stream at `path`; told likewise."""

    link: int
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Send:
    link: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask the token's source; if it has another token than the link was opened with, and the link is a WebSocket, send
    it as a frame `auth`. Told by Renewed."""

    link: int


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream now; nothing more of it is wanted. No Ended is needed."""

    link: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request; told by Answered or Failed with this `ask`."""

    ask: int
    method: str
    path: str
    headers: Mapping[str, str]
    timeout: float
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Show it to the program: bindings and handlers. Told by Judged."""

    old: Document | None
    new: Document


@dataclass(frozen=True, slots=True)
class Install:
    """From now on this is the configuration."""

    document: Document


@dataclass(frozen=True, slots=True)
class Save:
    """Keep it on disk."""

    document: Document


@dataclass(frozen=True, slots=True)
class Fetched:
    """The first configuration is there, or `error` why not."""

    error: ConfigError | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling people and metrics: `name` from a short list, and what belongs to it."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"


Action: TypeAlias = OpenSocket | OpenEvents | Send | Renew | Close | Ask | Judge | Install | Save | Fetched | Note
