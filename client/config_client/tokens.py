"""Where the token comes from: a text, a file that is read again, or a callable."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from config_client.errors import TokenUnavailable

#: A Path is a file, as Kubernetes projects it. It is read, or the callable called, for each request and each stream.
TokenSource: TypeAlias = str | Path | Callable[[], str | Awaitable[str]]


def is_blocking(source: TokenSource) -> bool:
    """Whether it may take its time: a callable that is no coroutine function."""
    return callable(source) and not inspect.iscoroutinefunction(source)


def current(source: TokenSource) -> str | Awaitable[str]:
    """The token now, or what will give it. Raises TokenUnavailable."""
    try:
        if isinstance(source, Path):
            return checked(source.read_text(encoding="utf-8"))
        return checked(source) if isinstance(source, str) else _checked_call(source())
    except TokenUnavailable:
        raise
    except OSError as error:
        raise TokenUnavailable(f"the token's file cannot be read: {error.strerror}") from error
    except Exception as error:
        raise TokenUnavailable(f"the token's source raised {type(error).__name__}") from error


def checked(token: str) -> str:
    """Without what is around it. Raises TokenUnavailable for what cannot stand in a header."""
    token = token.strip()
    if not token:
        raise TokenUnavailable("the token is empty")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TokenUnavailable("the token holds characters that no token has")
    return token


def _checked_call(given: str | Awaitable[str]) -> str | Awaitable[str]:
    return checked(given) if isinstance(given, str) else given
