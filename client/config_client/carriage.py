"""What both drivers share about the wire: addresses, headers, and what an exception of httpx or websockets means."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from config_client import core
from config_client.core.answers import seconds, trouble_of
from config_client.errors import TokenUnavailable
from config_client.version import USER_AGENT

SUBPROTOCOL = "cfg.v1"
#: The largest frame or answer that is taken; no configuration comes near.
MAX_SIZE = 64 * 1024 * 1024


class _Discreet(logging.LoggerAdapter[logging.Logger]):
    """Below INFO websockets writes headers and frames into the log: the token, and every value."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - its name in the standard library
        return level >= logging.INFO and super().isEnabledFor(level)


def checked_url(url: str) -> str:
    """Without the slash at its end. Raises ValueError for what is no address of a server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"not the address of a config server: {url!r}; http://host:port is one")
    if parts.username or parts.password:
        raise ValueError("an address holds no password here; give auth_token")
    return url.rstrip("/")


def socket_url(url: str, path: str) -> str:
    return "ws" + url.removeprefix("http") + path


def headers(given: Mapping[str, str], token: str) -> dict[str, str]:
    return {**given, "authorization": f"Bearer {token}", "user-agent": USER_AGENT}


def verification(url: str, context: ssl.SSLContext | None) -> ssl.SSLContext | bool:
    """httpx reads the system's certificates otherwise, though nothing is encrypted."""
    return context or url.startswith("https:")


def socket_options(url: str, context: ssl.SSLContext | None, given: Mapping[str, str], token: str) -> dict[str, Any]:
    """Arguments of `connect`. The server's heartbeats tell whether it lives, so no pings."""
    about = headers(given, token)
    return {
        "user_agent_header": about.pop("user-agent"),
        "additional_headers": about,
        "compression": None,
        "logger": _Discreet(logging.getLogger("config_client.websocket"), {}),
        "ping_interval": None,
        "max_size": MAX_SIZE,
        "close_timeout": 1,
        **({"ssl": context} if context and url.startswith("https:") else {}),
    }


def refused_events(link: int, status: int, answer: Mapping[str, str]) -> core.Ended | None:
    """What an answer to the request for an event stream means, if it is none."""
    if status == 200 and answer.get("content-type", "").startswith("text/event-stream"):
        return None
    trouble = core.Trouble.REFUSED if status == 200 else trouble_of(status)
    after = seconds(answer.get("retry-after", ""))
    return core.Ended(link, trouble, f"status {status} instead of an event stream", status=status, retry_after=after)


def failures() -> tuple[type[Exception], ...]:
    """What the network, or the token's source, may raise; a function, as httpx and websockets are imported late."""
    import httpx
    from websockets.exceptions import WebSocketException

    return TokenUnavailable, httpx.HTTPError, WebSocketException, OSError, EOFError, ValueError


def failed(ask: int, error: Exception) -> core.Failed:
    """No answer, by what was raised."""
    return core.Failed(ask, str(error) if isinstance(error, TokenUnavailable) else f"no answer: {type(error).__name__}")


def ended(link: int, error: Exception) -> core.Ended:
    """The end of a stream, by what was raised."""
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

    if isinstance(error, TokenUnavailable):
        return core.Ended(link, core.Trouble.DENIED, str(error))
    if isinstance(error, InvalidStatus):
        answer = error.response
        trouble, after = trouble_of(answer.status_code), seconds(answer.headers.get("Retry-After", ""))
        text = f"status {answer.status_code} instead of a WebSocket"
        return core.Ended(link, trouble, text, status=answer.status_code, retry_after=after)
    if isinstance(error, ConnectionClosed):
        code = error.rcvd.code if error.rcvd else 1006
        return core.Ended(link, core.Trouble.BROKEN, "the connection is closed", code=code)
    if isinstance(error, InvalidHandshake) and not isinstance(error, InvalidMessage):
        return core.Ended(link, core.Trouble.REFUSED, str(error))
    return core.Ended(link, _trouble(error), type(error).__name__)


def _trouble(error: Exception) -> core.Trouble:
    """Of an exception of the network: whether anything answers at all."""
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionRefusedError):
        return core.Trouble.UNREACHABLE
    broken = TimeoutError | ConnectionError  # half a handshake; the other errors of the system are no connection at all
    return (
        core.Trouble.UNREACHABLE
        if isinstance(error, OSError) and not isinstance(error, broken)
        else core.Trouble.BROKEN
    )
