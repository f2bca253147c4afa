"""Owns which whole documents of Vault a target has among its sources, and whether above its files or below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.model import NAME, SecretPath, Target

#: Stands among the templates where the files of the repository rank.
FILES = "files"
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PIECE = re.compile(r"\{service\}|\{env\}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MOST_SEGMENTS = 15


@dataclass(frozen=True, slots=True)
class SourcePath:
    """One document for one target. `name` is what clients know it by; it holds names, and not the whole path."""

    path: SecretPath
    name: str
    above: bool


@dataclass(frozen=True, slots=True)
class _Template:
    """`segments` of pieces, which a comma joins; a piece is a literal or a field, so no two names run together."""

    alias: str
    segments: tuple[tuple[str, ...], ...]
    above: bool

    def of(self, service: str, env: str) -> SourcePath:
        fields = {"{service}": service, "{env}": env}
        filled = [[fields.get(piece, piece) for piece in segment] for segment in self.segments]
        fields_before = [fields[piece] for segment in self.segments[:-1] for piece in segment if piece in fields]
        path = SecretPath(self.alias, "/".join(",".join(segment) for segment in filled))
        return SourcePath(path, f"vault:{','.join((*fields_before, *filled[-1]))}", self.above)


class SecretSources:
    """`templates` such as `kv/{service},{env}`, strongest first: what stands before the word `files` beats the files.

    Immutable. Raises ValueError for a template that is none.
    """

    def __init__(self, templates: Sequence[str]) -> None:
        at = templates.index(FILES) if FILES in templates else len(templates)
        self._templates = tuple(
            _parse(template, above=place < at) for place, template in enumerate(templates) if place != at
        )
        self.aliases = frozenset(template.alias for template in self._templates)

    def __bool__(self) -> bool:
        return bool(self._templates)

    def of(self, target: Target) -> tuple[SourcePath, ...]:
        """Strongest first, each document and each name once; of several services and envs the last ranks highest.

        None for a target with a name that is no plain one.
        """
        if not all(map(NAME.fullmatch, (*target.services, *target.envs))):
            return ()
        found: dict[SecretPath, SourcePath] = {}
        names: dict[str, int] = {}
        for each in self._filled(target):
            if each.path not in found:
                number = names[each.name] = names.get(each.name, 0) + 1
                found[each.path] = each if number == 1 else SourcePath(each.path, f"{each.name}#{number}", each.above)
        return tuple(found.values())

    def _filled(self, target: Target) -> Iterator[SourcePath]:
        for template in self._templates:
            for env in reversed(target.envs):
                for service in reversed(target.services):
                    yield template.of(service, env)


def _parse(text: str, *, above: bool) -> _Template:
    alias, *segments = text.split("/")
    pieces = tuple(tuple(segment.split(",")) for segment in segments)
    fits = all(_PIECE.fullmatch(piece) for segment in pieces for piece in segment)
    if not _ALIAS.fullmatch(alias) or not 0 < len(pieces) <= _MOST_SEGMENTS or not fits:
        raise ValueError(f"{text!r} is not alias/path, where {{service}} and {{env}} stand alone or between commas")
    return _Template(alias, pieces, above)
