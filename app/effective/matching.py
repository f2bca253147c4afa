"""Owns which repositories a target is read from: patterns as Spring Cloud Config has them (`app*`, `app*/prod*`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

MAX_PATTERN = 256


def checked_pattern(text: str) -> str:
    """`SERVICE` or `SERVICE/ENV`, each with any number of `*`. Raises ValueError."""
    if not text or len(text) > MAX_PATTERN or not text.isprintable() or any(letter in text for letter in " ,\\?[]{}"):
        raise ValueError(f"{text[:60]!r} is not a pattern such as app*, or app*/prod*")
    if text.startswith("/") or text.endswith("/"):
        raise ValueError(f"{text[:60]!r} lacks what stands before or after the slash")
    return text


def matches(patterns: Sequence[str], services: Sequence[str], envs: Iterable[str]) -> bool:
    """Whether one of the services in one of the envs is meant by one of the patterns.

    A pattern without a slash is about every env. `*` stands for any text, slashes too, as in Spring's
    PatternMatchUtils.simpleMatch. Linear in the length of what is asked for.
    """
    asked = [f"{service}/{env}" for env in envs for service in services]
    meant = [*patterns, *(f"{pattern}/*" for pattern in patterns if "/" not in pattern)]
    return any(_fits(pattern.split("*"), text) for text in asked for pattern in meant)


def matching(
    repositories: Mapping[str, Sequence[str]], services: Sequence[str], envs: Sequence[str]
) -> tuple[str, ...]:
    """The names of those (name -> patterns, in the order of the file) that match: the first is the strongest."""
    return tuple(name for name, patterns in repositories.items() if matches(patterns, services, envs))


def _fits(pieces: Sequence[str], text: str) -> bool:
    """Whether `text` is these pieces, with anything between two of them."""
    first, *rest = pieces
    if not rest:
        return text == first
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
