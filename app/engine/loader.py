"""From a target and a commit to its Effective: which files, parsed once per blob, folded once per content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from threading import Lock
from types import MappingProxyType
from typing import Final, Protocol

from app.cache import LocalCache, SharedCache
from app.effective import (
    LOADER_VERSION,
    NO_DOCUMENTS,
    NO_OVERRIDES,
    Candidate,
    Documents,
    MapTree,
    Overrides,
    Places,
    decode,
    encode,
    expand,
    fold,
    ordered,
    parse,
)
from app.engine.schemas import Blobs, SchemaProblem, Schemas, SchemaSet
from app.errors import BadConfiguration, SchemaViolation
from app.model import Blob, Effective, Source, Target, Tree
from app.observability import span
from app.repository import BlobTooLarge, GitConfigBackend, ObjectLost

MAX_FILE = 1 << 20
NO_FURTHER: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})
_NOBODY = "-"  # no service has this name, so only shared files are its candidates
_REFUSED = {"120000": "a symbolic link, which is not followed", "160000": "a submodule, which is not read"}


@dataclass(frozen=True, slots=True)
class _Broken:
    """A BadConfiguration to be raised again: an exception kept for long would keep its frames alive."""

    path: str
    line: int | None
    reason: str
    rule: tuple[str, str] | None = None  # schema and key, of a SchemaViolation

    def failure(self) -> BadConfiguration:
        if self.rule is not None:
            return SchemaViolation(self.path, self.line, self.reason, *self.rule)
        return BadConfiguration(self.path, self.line, self.reason)


class Trees:
    """The trees of the commits in use, each new one made from one at hand by its difference. Thread-safe.

    `starred` gives the names that search paths with `*` have for paths (see Layout).
    """

    def __init__(
        self,
        repository: GitConfigBackend,
        schemas: Schemas,
        starred: Callable[[Iterable[str]], frozenset[str]],
        capacity: int = 16,
    ) -> None:
        self._repository = repository
        self._schemas = schemas
        self._starred = starred
        self._trees: LocalCache[str, Tree] = LocalCache(capacity)
        self._differences: LocalCache[tuple[str, str], frozenset[str]] = LocalCache(capacity)
        self._latest: Tree | None = None
        self._reading = Lock()  # held while Git is asked, so that each tree is read once however many want it

    def at(self, commit: str) -> Tree:
        """The tree of `commit`. Raises ObjectLost when the mirror has no such commit, RepositoryUnavailable."""
        tree = self._trees.get(commit)
        if tree is not None:
            return tree
        with self._reading:
            tree = self._trees.get(commit)
            if tree is None:
                base = self._latest
                tree = self._advanced(base, commit)[0] if base else self._repository.tree(commit)
                self._keep(tree)
        return tree

    def advance(self, old: str, new: str) -> frozenset[str] | None:
        """Make the tree of `new` ready and tell the paths in which it differs from `old`.

        With them the schemas that lean on a schema which differs: whom they hold for is touched too.
        None when `old` is nowhere any more (rewritten away, and the mirror made anew): then any path may differ.
        """
        try:
            base = self.at(old)
        except ObjectLost:
            self.at(new)
            return None
        with self._reading:
            tree, changed = self._advanced(base, new)
            self._keep(tree)
        return changed | self._schemas.touched(base.blobs, tree.blobs, changed) | self._starred(changed)

    def _advanced(self, base: Tree, commit: str) -> tuple[Tree, frozenset[str]]:
        """Asked of Git once, however often the two are compared: in a big folder that takes it tens of milliseconds."""
        tree, changed = self._trees.get(commit), self._differences.get((base.commit, commit))
        if tree is None or changed is None:
            tree, changed = self._repository.advance(base, commit)
            self._differences.put((base.commit, commit), changed)
        return tree, changed

    def _keep(self, tree: Tree) -> None:
        self._trees.put(tree.commit, tree)
        self._latest = tree


class ReadsTrees(Protocol):
    """See Trees, which has those of one repository."""

    def at(self, commit: str) -> Tree: ...

    def advance(self, old: str, new: str) -> frozenset[str] | None: ...


class AppliesSchemas(Protocol):
    """See Schemas, which has those of one repository."""

    def of(self, service: str, blobs: Mapping[str, Blob]) -> SchemaSet: ...


class Loader:
    """Thread-safe. `search_paths` are the folders of the configuration repository, weakest first, and `further` those
    of further ones by their names; `overrides` is what stands above its files."""

    def __init__(
        self,
        repository: Blobs,
        shared: SharedCache,
        schemas: AppliesSchemas,
        *,
        search_paths: Sequence[str],
        further: Mapping[str, Sequence[str]] = NO_FURTHER,
        on_lookup: Callable[[str, bool], None],
        on_resolved: Callable[[float], None],
        overrides: Overrides = NO_OVERRIDES,
    ) -> None:
        self.overrides = overrides
        self._repository = repository
        self._shared = shared
        self._schemas = schemas
        self.places = Places({"": search_paths, **further})
        self.has_stars = self.places.has_stars
        self._on_lookup = on_lookup
        self._on_resolved = on_resolved
        self._sources: LocalCache[tuple[str, str], tuple[Source, ...]] = LocalCache(
            4096, on_lookup=lambda hit: on_lookup("parse", hit)
        )
        self._trees: LocalCache[int, tuple[Source, MapTree]] = LocalCache(4096)
        self._folded: LocalCache[str, Effective | _Broken] = LocalCache(
            4096, on_lookup=lambda hit: on_lookup("local", hit)
        )
        self._candidates: LocalCache[tuple[Target, frozenset[str] | None], tuple[Candidate, ...]] = LocalCache(4096)
        self._own: LocalCache[tuple[Target, frozenset[str] | None], frozenset[str]] = LocalCache(4096)
        self._folders: LocalCache[str, tuple[Tree, frozenset[str]]] = LocalCache(16)
        self._unapplied: LocalCache[str, tuple[SchemaProblem, ...]] = LocalCache(4096)

    def folders(self, tree: Tree) -> frozenset[str] | None:
        """The folders of a tree, for search paths with `*`; None while there are none, so that nobody lists a tree."""
        if not self.has_stars or tree.folders is not None:
            return tree.folders
        known = self._folders.get(tree.commit)
        if known is None or known[0] is not tree:
            found = {str(parent) for folder in _holders(tree.blobs) for parent in (folder, *folder.parents)}
            known = (tree, frozenset(found - {"."}))
            self._folders.put(tree.commit, known)
        return known[1]

    def candidates(self, target: Target, folders: frozenset[str] | None) -> tuple[Candidate, ...]:
        """Every file that would configure the target, strongest first, absent ones too; `folders` are the tree's."""
        found = self._candidates.get((target, folders))
        if found is None:
            found = self.places.candidates(target, folders)
            self._candidates.put((target, folders), found)
        return found

    def own_paths(self, target: Target, tree: Tree) -> frozenset[str]:
        """The files that configure this service alone, by their name or by a folder of its own; absent ones too."""
        folders = self.folders(tree)
        found = self._own.get((target, folders))
        if found is None:
            nobody = replace(target, service=_NOBODY)
            shared = {each.path for each in self.places.candidates(nobody, folders)}
            found = frozenset(each.path for each in self.candidates(target, folders)) - shared
            self._own.put((target, folders), found)
        return found

    def names_service(self, target: Target, tree: Tree) -> bool:
        """Whether a file of the service's own is there, not only shared ones."""
        return any(path in tree.blobs for path in self.own_paths(target, tree))

    def load(self, target: Target, tree: Tree, documents: Documents = NO_DOCUMENTS) -> Effective:
        """The Effective of `target` at the tree's commit, valid by its schemas, with `documents` among its files.

        Raises BadConfiguration (SchemaViolation), RepositoryUnavailable. The result depends on nothing but the target's
        coordinates and the content of its files and schemas, which is its key in the caches; so it is shared by all
        commits, workers and hosts that hold the same files.
        """
        return self._loaded(target, tree, documents)[1]

    def knows(self, target: Target, tree: Tree) -> bool:
        """Whether the repository names the service, and each of the envs, in a file."""
        if not self.names_service(target, tree):
            return False
        named = {each.env for each in self.candidates(target, self.folders(tree)) if each.path in tree.blobs}
        return named.issuperset(target.envs)

    def unapplied(self, target: Target, tree: Tree) -> tuple[SchemaProblem, ...]:
        """The schemas of `target` that cannot be applied, and why. Empty when its files are wrong by themselves."""
        try:
            key, effective = self._loaded(target, tree, NO_DOCUMENTS)
        except BadConfiguration:
            return self._schemas.of(target.service, tree.blobs).problems
        known = self._unapplied.get(key)
        if known is None:
            known = self._schemas.of(target.service, tree.blobs).check(effective)
            self._unapplied.put(key, known)
        return known

    def inputs(self, target: Target, folders: frozenset[str] | None = None) -> tuple[str, ...]:
        """Every path whose change can change this target, absent files and its schemas too.

        Without `folders` those of search paths with `*` are named as `Layout.starred` does.
        """
        return (*(each.path for each in self.candidates(target, folders)), *self.places.schema_paths(target))

    def inputs_at(self, target: Target, tree: Tree) -> tuple[str, ...]:
        """The same with the schemas that its schemas lean on at this commit."""
        inputs = self.inputs(target, self.folders(tree))
        return tuple(dict.fromkeys((*inputs, *self._schemas.of(target.service, tree.blobs).paths)))

    def files(self, target: Target, tree: Tree) -> list[tuple[str, Blob]]:
        """The files that configure the target at the tree's commit, strongest first."""
        paths = (each.path for each in self.candidates(target, self.folders(tree)))
        return [(path, tree.blobs[path]) for path in paths if path in tree.blobs]

    def parsed(self, path: str, blob: Blob) -> tuple[Source, ...]:
        """The documents of a file, parsed once for each content. Raises BadConfiguration, RepositoryUnavailable."""
        if blob.mode in _REFUSED:
            raise BadConfiguration(path, None, _REFUSED[blob.mode])
        key = (blob.id, path)
        sources = self._sources.get(key)
        if sources is None:
            try:
                data = self._repository.blob(blob.id, limit=MAX_FILE)
            except BlobTooLarge as exc:
                raise BadConfiguration(path, None, "the file is larger than 1 MiB") from exc
            with span("config.parse", **{"config.file": path}):
                sources = parse(path, data)
            self._sources.put(key, sources)
        return sources

    def _loaded(self, target: Target, tree: Tree, documents: Documents) -> tuple[str, Effective]:
        files = self.files(target, tree)
        schemas = self._schemas.of(target.service, tree.blobs)
        key = _content_key(target, files, schemas, self.overrides, documents)
        known = self._folded.get(key)
        if known is None:
            known = self._found_or_folded(key, target, files, schemas, documents)
            self._folded.put(key, known)
        if isinstance(known, _Broken):
            raise known.failure()
        return key, known

    def _found_or_folded(
        self, key: str, target: Target, files: Sequence[tuple[str, Blob]], schemas: SchemaSet, documents: Documents
    ) -> Effective | _Broken:
        """Other workers are asked only where that saves reading a file: folding costs less than the asking.

        What Vault's documents are among stays here: not even their keys go to Redis.
        """
        if documents.key or all(self._sources.holds((blob.id, path)) for path, blob in files):
            return self._folded_anew(key, target, files, schemas, documents)
        shared = self._from_shared(key)
        if shared is not None:
            return shared
        folded = self._folded_anew(key, target, files, schemas, documents)
        if isinstance(folded, Effective):
            self._shared.put(key, encode(folded))
        return folded

    def _from_shared(self, key: str) -> Effective | None:
        data = self._shared.get(key)
        self._on_lookup("shared", data is not None)
        return decode(data) if data is not None else None

    def _folded_anew(
        self, key: str, target: Target, files: Sequence[tuple[str, Blob]], schemas: SchemaSet, documents: Documents
    ) -> Effective | _Broken:
        started = time.perf_counter()
        try:
            parsed = [self.parsed(path, blob) for path, blob in files]
            above, below = ([(source,) for source in sources] for sources in (documents.above, documents.below))
            sources = ordered([self.overrides.documents, *above, *parsed, *below])
            effective = fold(sources, target.envs, expanded=self._expanded)
            self._unapplied.put(key, schemas.check(effective))
        except SchemaViolation as bad:
            return _Broken(bad.path, bad.line, bad.reason, (bad.schema, bad.key))
        except BadConfiguration as bad:
            return _Broken(bad.path, bad.line, bad.reason)
        self._on_resolved(time.perf_counter() - started)
        return effective

    def _expanded(self, source: Source) -> MapTree:
        """Once per document, whoever it is folded for. Its `id` is its own as long as it is kept here."""
        known = self._trees.get(id(source))
        if known is None or known[0] is not source:
            known = (source, expand(source))
            self._trees.put(id(source), known)
        return known[1]


def _holders(paths: Iterable[str]) -> set[PurePosixPath]:
    return {PurePosixPath(folder) for folder in {path.rpartition("/")[0] for path in paths} if folder}


def _content_key(
    target: Target, files: Sequence[tuple[str, Blob]], schemas: SchemaSet, overrides: Overrides, documents: Documents
) -> str:
    parts = [
        str(LOADER_VERSION),
        target.service,
        target.env,
        *(f"{path}\0{blob.mode} {blob.id}" for path, blob in files),
        *schemas.content,
        *(each for each in (overrides.digest, documents.key) if each),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
