"""From a target and a commit to what Spring's clients get: the same files, parsed once, side by side."""

from __future__ import annotations

from typing import TypeAlias

from app.cache import LocalCache
from app.effective import NO_DOCUMENTS, Documents, spring_sheet
from app.engine.loader import Loader
from app.errors import BadConfiguration, SchemaViolation
from app.model import Effective, Target, Tree

#: What Spring Cloud Config reads; the other formats are for the callers of /v1.
SPRING_EXTENSIONS = ("properties", "yml", "yaml")

_Key: TypeAlias = tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]


class SpringLoader:
    """A Loader's way to find and parse files, and another way to put them together. Thread-safe."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._sheets: LocalCache[_Key, Effective] = LocalCache(4096)

    def load(self, target: Target, tree: Tree, documents: Documents = NO_DOCUMENTS) -> Effective:
        """The target's documents that count, as `spring_sheet` keeps them.

        Raises BadConfiguration when one does not parse, SchemaViolation when what they fold into is not what a schema
        allows, RepositoryUnavailable.
        """
        try:
            self._loader.load(target, tree, documents)
        except SchemaViolation:
            raise
        except BadConfiguration:
            pass  # a hole in a list, or a JSON file: nothing to Spring's clients; what is to them is found below
        files = [each for each in self._loader.files(target, tree) if each[0].rpartition(".")[2] in SPRING_EXTENSIONS]
        key = (target.envs, tuple((path, f"{blob.mode} {blob.id}") for path, blob in files), documents.key)
        sheet = self._sheets.get(key)
        if sheet is None:
            parsed = [self._loader.parsed(path, blob) for path, blob in files]
            sheet = spring_sheet(parsed, target.envs, self._loader.overrides.documents, documents)
            self._sheets.put(key, sheet)
        return sheet

    def knows(self, target: Target, tree: Tree) -> bool:
        return self._loader.knows(target, tree)

    def names_service(self, target: Target, tree: Tree) -> bool:
        return self._loader.names_service(target, tree)

    def own_paths(self, target: Target, tree: Tree) -> frozenset[str]:
        return self._loader.own_paths(target, tree)

    def inputs(self, target: Target) -> tuple[str, ...]:
        return self._loader.inputs(target)

    def inputs_at(self, target: Target, tree: Tree) -> tuple[str, ...]:
        return self._loader.inputs_at(target, tree)
