"""Owns what Spring calls an environment: a target's documents side by side, strongest first, nothing merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from app.effective.fold import is_active
from app.effective.keys import shown
from app.effective.overrides import OVERRIDES
from app.effective.references import MalformedReference, parse_value
from app.effective.secret_documents import NO_DOCUMENTS, Documents
from app.effective.spring_flat import flattened
from app.errors import BadConfiguration
from app.model import Effective, Json, Node, Origin, Reference, Scalar, Source, Template

_SOURCES = "sources"


@dataclass(frozen=True, slots=True)
class PropertySource:
    """One document as clients get it; `name` lacks the repository's URL, `origins` are `line:column` by key.

    `in_repository`: it is a file's; else it has no origins, and its name is whole. `repository` is which further one it
    is of, "" for the configuration repository.
    """

    name: str
    values: Mapping[str, Node]
    origins: Mapping[str, str]
    in_repository: bool
    repository: str = ""


def spring_sheet(
    files: Sequence[Sequence[Source]],
    envs: Sequence[str],
    overrides: Sequence[Source] = (),
    documents: Documents = NO_DOCUMENTS,
) -> Effective:
    """The documents of `files` (strongest first, each as `parse` returned it) that count for these envs.

    Before them all, as one source, what `overrides` come to; around the files, each as a source, `documents`.
    It is an Effective like any other, so that whatever holds for secrets, etags and good versions holds for it:
    `property_sources` reads it. Raises BadConfiguration. Pure; any thread.
    """
    sheet = _Sheet()
    first = [source for source in overrides if is_active(source, envs)]
    if first:
        sheet.add(OVERRIDES, first)
    for source in documents.above:
        sheet.add(source.path, [source])
    for file in files:
        for source in reversed(file):
            if is_active(source, envs):
                sheet.add(_name(source, many=len(file) > 1), [source], in_repository=True)
    for source in documents.below:
        sheet.add(source.path, [source])
    return sheet.effective(tuple(dict.fromkeys(source.path for file in files for source in file)))


class _Sheet:
    """One in the making."""

    def __init__(self) -> None:
        self._sources: list[Json] = []
        self._origins: dict[str, Origin] = {}
        self._references: dict[Reference, dict[str, None]] = {}

    def add(self, name: str, documents: Iterable[Source], *, in_repository: bool = False) -> None:
        """A source of what the documents come to, the last of them being the strongest."""
        values: dict[str, Node] = {}
        for source in documents:
            for key, value, raw in flattened(source):
                origin = Origin(source.path, source.document, *source.positions.get(raw, (1, 1)))
                values[key] = node = _node(value, key, origin)
                for reference in node.references if isinstance(node, Template) else ():
                    self._references.setdefault(reference, {})[key] = None
                if in_repository:
                    self._origins[_place(len(self._sources), key)] = origin
        made = {"name": name, "source": values, "in_repository": in_repository}
        self._sources.append(cast("Json", made))

    def effective(self, paths: tuple[str, ...]) -> Effective:
        return Effective(
            MappingProxyType({_SOURCES: cast("Node", self._sources)}),
            MappingProxyType(self._origins),
            MappingProxyType({}),
            MappingProxyType({reference: tuple(keys) for reference, keys in self._references.items()}),
            paths,
        )


def property_sources(sheet: Effective) -> Iterator[PropertySource]:
    """The documents of a sheet, strongest first."""
    for index, each in enumerate(cast("list[Any]", sheet.values[_SOURCES])):
        found = ((key, sheet.origins.get(_place(index, key))) for key in each["source"])
        origins = {key: f"{at.line}:{at.column}" for key, at in found if at is not None}
        yield PropertySource(each["name"], each["source"], origins, each["in_repository"])


def _name(source: Source, *, many: bool) -> str:
    """As Spring Boot's loaders name a document, without the folder of a server in it."""
    return f"Config resource '{source.path}' (document #{source.document})" if many else source.path


def _place(index: int, key: str) -> str:
    return f"{index}/{key}"


def _node(value: Scalar, key: str, origin: Origin) -> Scalar | Template:
    if not isinstance(value, str):
        return value
    try:
        return parse_value(value)
    except MalformedReference as exc:
        raise BadConfiguration(origin.path, origin.line, f"{shown(key)}: {exc}") from None
