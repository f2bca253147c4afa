"""The configuration repository and further ones behind one face: an id that is `NAME:ID` says whom to ask.

What is read from several together has a tree of all of them: `NAME:PATH` -> Blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from app.cache import LocalCache
from app.engine.loader import AppliesSchemas, ReadsTrees
from app.engine.schemas import Blobs, SchemaProblem, SchemaSet
from app.errors import RepositoryUnavailable
from app.model import OF, Blob, Tree, parts_of, together


class Reads(Blobs, Protocol):
    """What a configuration is read from: see GitConfigBackend."""

    def first_parents(self, commit: str, paths: Sequence[str], *, limit: int) -> list[str]: ...


class JoinedBlobs(Mapping[str, Blob]):
    """The files of several trees by `NAME:PATH`. Made in no time, whatever their size."""

    def __init__(self, parts: Mapping[str, Mapping[str, Blob]]) -> None:
        self.parts = parts

    def __getitem__(self, path: str) -> Blob:
        name, _, rest = path.partition(OF)
        blob = self.parts[name][rest]
        return Blob(blob.mode, f"{name}{OF}{blob.id}")

    def __iter__(self) -> Iterator[str]:
        return (f"{name}{OF}{path}" for name, blobs in self.parts.items() for path in blobs)

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))


class Mirrors:
    """See Reads. `repositories` by name, "" being the configuration repository."""

    def __init__(self, repositories: Mapping[str, Reads]) -> None:
        self._repositories = repositories

    def blob(self, blob_id: str, *, limit: int) -> bytes:
        name, _, rest = blob_id.rpartition(OF)
        return self._repositories[name].blob(rest, limit=limit)

    def first_parents(self, commit: str, paths: Sequence[str], *, limit: int) -> list[str]:
        """Of several repositories each one's, where the others stand still."""
        parts = parts_of(commit)
        found: list[str] = []
        for index, (name, its_own) in enumerate(parts):
            back = self._repositories[name].first_parents(its_own, _of(name, paths), limit=limit)
            found += [together((*parts[:index], (name, each), *parts[index + 1 :])) for each in back]
        return found[:limit]


class EveryTree:
    """See Trees."""

    def __init__(self, trees: Mapping[str, ReadsTrees]) -> None:
        self._trees = trees
        self._joined: LocalCache[str, Tree] = LocalCache(64)

    def at(self, commit: str) -> Tree:
        if OF not in commit:
            return self._trees[""].at(commit)
        tree = self._joined.get(commit)
        if tree is None:
            found = {name: self._trees[name].at(its_own).blobs for name, its_own in parts_of(commit)}
            tree = Tree(commit, JoinedBlobs(found))
            self._joined.put(commit, tree)
        return tree

    def advance(self, old: str, new: str) -> frozenset[str] | None:
        """None too where a further repository cannot be read: that must not keep the others from moving on."""
        if OF not in new:
            return self._trees[""].advance(old, new)
        changed: set[str] = set()
        for (name, before), (_, after) in zip(parts_of(old), parts_of(new), strict=True):
            try:
                paths = self._trees[name].advance(before, after) if before != after else frozenset()
            except RepositoryUnavailable:
                return None
            if paths is None:
                return None
            changed |= {f"{name}{OF}{path}" for path in paths}
        return frozenset(changed)


class EverySchema:
    """See Schemas. Of several repositories the schemas of each hold, for all of the configuration."""

    def __init__(self, schemas: Mapping[str, AppliesSchemas]) -> None:
        self._schemas = schemas

    def of(self, service: str, blobs: Mapping[str, Blob]) -> SchemaSet:
        if not isinstance(blobs, JoinedBlobs):
            return self._schemas[""].of(service, blobs)
        found = {name: self._schemas[name].of(service, its_own) for name, its_own in blobs.parts.items()}
        return SchemaSet(
            tuple(f"{name}{OF}{each}" for name, some in found.items() for each in some.content),
            frozenset(f"{name}{OF}{path}" for name, some in found.items() for path in some.paths),
            tuple(schema for some in found.values() for schema in some.schemas),
            tuple(_named(name, each) for name, some in found.items() for each in some.problems),
        )


def is_configuration_of(layouts: Mapping[str, Callable[[str], bool]]) -> Callable[[str], bool]:
    """Whether a path of any repository lies where its configuration lies, and is called like it."""

    def is_configuration(path: str) -> bool:
        name, _, rest = path.partition(OF)
        return layouts[""](path) or (name in layouts and layouts[name](rest))

    return is_configuration


def _named(name: str, problem: SchemaProblem) -> SchemaProblem:
    return SchemaProblem(f"{name}{OF}{problem.path}", problem.line, problem.reason)


def _of(name: str, paths: Sequence[str]) -> Sequence[str]:
    if not name:
        return paths
    return [path.removeprefix(f"{name}{OF}") for path in paths if path.startswith(f"{name}{OF}")]
