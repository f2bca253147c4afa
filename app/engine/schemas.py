"""Which JSON Schemas hold for a target at a commit, each compiled once, and which of them cannot be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from app.cache import LocalCache
from app.effective import BrokenSchema, CompiledSchema, SchemaFile, first_violation, read_schema, schema_paths
from app.effective.schema_file import MAX_SCHEMA_BYTES, SCHEMA_FOLDER
from app.errors import SchemaViolation
from app.model import Blob, Effective
from app.repository import BlobTooLarge

_FILE_MODES = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """A schema that is not applied, so that it takes no configuration away: its file, line (if any) and reason."""

    path: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class SchemaSet:
    """What holds for a service at a commit. `content` names every file behind it with its blob, for a cache's key;
    `paths` are the same files, and those that are missing."""

    content: tuple[str, ...] = ()
    paths: frozenset[str] = frozenset()
    schemas: tuple[CompiledSchema, ...] = ()
    problems: tuple[SchemaProblem, ...] = ()

    def check(self, effective: Effective) -> tuple[SchemaProblem, ...]:
        """Hold a configuration against them. Raises SchemaViolation; returns the schemas that could not be applied."""
        broken = list(self.problems)
        for schema in self.schemas:
            try:
                violations = schema.violations(effective)
            except BrokenSchema as exc:
                broken.append(_problem(exc))
                continue
            if violations:
                first = violations[0]
                raise SchemaViolation(first.path, first.line, first_violation(violations), first.schema, first.key)
        return tuple(broken)


_NONE = SchemaSet()


class Blobs(Protocol):
    """Where the content of files is read by id: the repository, or what is staged beside it."""

    def blob(self, blob_id: str, *, limit: int) -> bytes: ...


class Schemas:
    """Thread-safe. The work is done once for each content; where a service has no schema there is none."""

    def __init__(self, repository: Blobs) -> None:
        self._repository = repository
        self._files: LocalCache[tuple[str, Blob], SchemaFile | SchemaProblem] = LocalCache(1024)
        self._sets: LocalCache[tuple[str, ...], SchemaSet] = LocalCache(1024)

    def of(self, service: str, blobs: Mapping[str, Blob]) -> SchemaSet:
        """What holds for `service` where the repository holds `blobs` (path -> Blob)."""
        roots = [path for path in schema_paths(service) if path in blobs]
        if not roots:
            return _NONE
        found = self._with_neighbours(roots, blobs)
        content = (*roots, "", *(f"{path}\0{blobs[path].mode} {blobs[path].id}" for path in found if path in blobs))
        known = self._sets.get(content)
        if known is None:
            known = self._compiled(roots, found, content)
            self._sets.put(content, known)
        return known

    def touched(self, before: Mapping[str, Blob], after: Mapping[str, Blob], changed: Set[str]) -> frozenset[str]:
        """The schemas of services that lean on a changed schema which is nobody's own: those changed in effect."""
        moved = {path for path in changed if path.startswith(f"{SCHEMA_FOLDER}/")}
        if not moved:
            return frozenset()
        roots = {path for blobs in (before, after) for path in blobs if path.startswith(f"{SCHEMA_FOLDER}/")}
        return frozenset(
            root
            for root in roots
            for blobs in (before, after)
            if root in blobs and not moved.isdisjoint(self._with_neighbours([root], blobs))
        )

    def _with_neighbours(
        self, roots: Iterable[str], blobs: Mapping[str, Blob]
    ) -> dict[str, SchemaFile | SchemaProblem]:
        """These files and all that they refer to, directly or not; missing ones too."""
        found: dict[str, SchemaFile | SchemaProblem] = {}
        waiting = list(roots)
        while waiting:
            path = waiting.pop(0)
            if path not in found:
                file = found[path] = self._file(path, blobs.get(path))
                waiting += sorted(file.needs) if isinstance(file, SchemaFile) else ()
        return found

    def _file(self, path: str, blob: Blob | None) -> SchemaFile | SchemaProblem:
        if blob is None or blob.mode not in _FILE_MODES:
            return SchemaProblem(path, None, "not there" if blob is None else "not a regular file")
        known = self._files.get((path, blob))
        if known is None:
            known = self._read(path, blob)
            self._files.put((path, blob), known)
        return known

    def _read(self, path: str, blob: Blob) -> SchemaFile | SchemaProblem:
        try:
            return read_schema(path, self._repository.blob(blob.id, limit=MAX_SCHEMA_BYTES))
        except BlobTooLarge:
            return SchemaProblem(path, None, f"larger than {MAX_SCHEMA_BYTES >> 10} KiB")
        except BrokenSchema as exc:
            return _problem(exc)

    def _compiled(
        self, roots: list[str], found: Mapping[str, SchemaFile | SchemaProblem], content: tuple[str, ...]
    ) -> SchemaSet:
        good = {path: file for path, file in found.items() if isinstance(file, SchemaFile)}
        problems = {file.path: file for file in found.values() if isinstance(file, SchemaProblem)}
        schemas = []
        for path in roots:
            if path in good:
                try:
                    schemas.append(CompiledSchema(good[path], _reached(path, good)))
                except BrokenSchema as exc:
                    problems[exc.path] = _problem(exc)
        return SchemaSet(content, frozenset(found), tuple(schemas), tuple(problems.values()))


def _reached(root: str, good: Mapping[str, SchemaFile]) -> dict[str, SchemaFile]:
    """What one schema leans on: another's broken neighbour is not its own."""
    reached: dict[str, SchemaFile] = {}
    waiting = [root]
    while waiting:
        path = waiting.pop()
        if path in good and path not in reached:
            reached[path] = good[path]
            waiting += good[path].needs
    return reached


def _problem(broken: BrokenSchema) -> SchemaProblem:
    return SchemaProblem(broken.path, broken.line, broken.reason)
