"""Owns turning one file of the repository into Sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from app.effective.activation import active
from app.effective.json_documents import read_json
from app.effective.keys import parse_key
from app.effective.limits import MAX_BYTES, MAX_DOCUMENTS, Malformed
from app.effective.properties_documents import decode_properties, read_properties
from app.effective.toml_documents import read_toml
from app.effective.tree import Mark, Parsed, unfold
from app.effective.yaml_documents import read_yaml
from app.errors import BadConfiguration
from app.model import Json, KeyPath, Source

_ON_PROFILE: KeyPath = ("spring", "config", "activate", "on-profile")
_LEGACY_PROFILES: KeyPath = ("spring", "profiles")
_MAX_REASON = 300

_READERS: Mapping[str, Callable[[str], Iterable[Parsed]]] = {
    "properties": read_properties,
    "yml": read_yaml,
    "yaml": read_yaml,
    "toml": read_toml,
    "json": read_json,
}


def parse(path: str, data: bytes) -> tuple[Source, ...]:
    """The documents of a configuration file in the order of the file: a later one beats an earlier one.

    `path` is the file in the repository; its extension picks the format. Documents without content are left out and
    not counted. Strict and bounded: see `limits`. Raises BadConfiguration, whose reason quotes key names and no
    values. Pure; any thread.
    """
    sources: list[Source] = []
    try:
        for root in _read(path.rpartition(".")[2], data):
            if len(sources) == MAX_DOCUMENTS:
                raise Malformed(f"more than {MAX_DOCUMENTS} documents", root.mark[0])
            sources.append(_source(path, len(sources), *unfold(root)))
    except Malformed as exc:
        raise BadConfiguration(path, exc.line, exc.reason[:_MAX_REASON]) from None
    return tuple(sources)


def _read(extension: str, data: bytes) -> Iterable[Parsed]:
    if len(data) > MAX_BYTES:
        raise Malformed(f"larger than {MAX_BYTES} bytes")
    if extension not in _READERS:
        raise Malformed("not a configuration file by its extension")
    return _READERS[extension](decode_properties(data) if extension == "properties" else _decode(data))


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Malformed("not UTF-8", data.count(b"\n", 0, exc.start) + 1) from None


def _source(path: str, number: int, values: dict[str, Json], positions: dict[KeyPath, Mark]) -> Source:
    for raw, found in _find(values, _LEGACY_PROFILES, ()):
        if not isinstance(found, dict):
            reason = "spring.profiles is legacy, use spring.config.activate.on-profile"
            raise Malformed(reason, _line(raw, positions))
    activation = _activation(values, positions)
    return Source(path, number, MappingProxyType(values), MappingProxyType(positions), activation)


def _activation(values: dict[str, Json], positions: dict[KeyPath, Mark]) -> str | None:
    """The text of on-profile, the items of a list joined with commas; None when there is nothing in it."""
    expressions: list[str] = []
    for raw, found in _find(values, _ON_PROFILE, ()):
        items = found if isinstance(found, list) else [found]
        if any(isinstance(item, dict | list) for item in items):
            raise Malformed("spring.config.activate.on-profile must be text or a list", _line(raw, positions))
        texts = [item if isinstance(item, str) else json.dumps(item) for item in items if item is not None]
        expressions += [text for text in texts if text.strip()]
        try:
            active(",".join(expressions) or "any", ())
        except ValueError as exc:
            reason = f"spring.config.activate.on-profile: {exc}"
            raise Malformed(reason, _line(raw, positions)) from None
    return ",".join(expressions) or None


def _find(values: Mapping[str, Json], wanted: KeyPath, raw: KeyPath) -> Iterable[tuple[KeyPath, Json]]:
    """Every value at the expanded path `wanted` (or at an index of it), with its raw path."""
    for key, value in values.items():
        if not key.startswith(str(wanted[0])):
            continue
        try:
            path = parse_key(key)
        except ValueError:
            continue
        if path[: len(wanted)] == wanted and len(path) <= len(wanted) + 1:
            if len(path) == len(wanted) or isinstance(path[-1], int):
                yield (*raw, key), value
        elif isinstance(value, dict) and path == wanted[: len(path)]:
            yield from _find(value, wanted[len(path) :], (*raw, key))


def _line(raw: KeyPath, positions: Mapping[KeyPath, Mark]) -> int | None:
    return next((mark[0] for path, mark in positions.items() if path[: len(raw)] == raw), None)
