"""Validates a folder as the server would, for the pipelines of configuration repositories. Asks nobody."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.cache import NoSharedCache
from app.effective import Layout, matching
from app.effective.own_files import FREEZE_FILE, TARGETS_FILE, read_freeze, read_targets
from app.engine import Loader, Schemas
from app.errors import BadConfiguration
from app.model import Blob, Effective, Reference, Target, Tree
from app.repository import BlobTooLarge, FurtherRepository
from app.secrets import DEFAULT_KEY, PathPolicy, alias_of

_LABEL = "main"  # of search paths that hold {label}: there is no branch here


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong. `place` is `file` or `file:line`; `targets` whom it breaks, as SERVICE/ENV."""

    place: str
    reason: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    targets: int
    findings: tuple[Finding, ...]


class Folder:
    """The files below a directory, as a tree of Git; `.git` does not count."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, Path] = {}
        blobs = dict(self._found(directory))
        self.tree = Tree("0" * 40, blobs)

    def blob(self, blob_id: str, *, limit: int) -> bytes:
        """Raises BlobTooLarge."""
        file = self._files[blob_id]
        if (size := file.stat().st_size) > limit:
            raise BlobTooLarge(size, limit)
        return file.read_bytes()

    def _found(self, directory: Path) -> Iterator[tuple[str, Blob]]:
        for folder, folders, names in os.walk(directory):
            folders[:] = sorted(name for name in folders if name != ".git")
            for name in sorted(names):
                file = Path(folder, name)
                path = file.relative_to(directory).as_posix()
                blob = Blob("120000" if file.is_symlink() else "100644", hashlib.sha1(path.encode()).hexdigest())  # noqa: S324 - a name
                self._files[blob.id] = file
                yield path, blob


@dataclass(frozen=True, slots=True)
class Policies:
    """Which paths of secrets, and which keys of the transit engine and of the server, a target may refer to."""

    paths: PathPolicy
    keys: PathPolicy
    encrypt_keys: PathPolicy | None


def validate(
    directory: Path,
    *,
    envs: Sequence[str],
    search_paths: Sequence[str],
    secret_paths: Sequence[str],
    aliases: frozenset[str],
    transit_keys: Sequence[str],
    encrypt_keys: Sequence[str] = (),
    repositories: Sequence[FurtherRepository] = (),
    repository: str = "",
) -> Report:
    """Load every target that the folder knows and is read for: the folder is a checkout of the further `repository`, or
    ("") of the configuration repository. Raises ValueError for a bad search path or template, OSError."""
    folder = Folder(directory)
    schemas = Schemas(folder)
    loader = Loader(
        folder,
        NoSharedCache(),
        schemas,
        search_paths=search_paths,
        on_lookup=lambda _cache, _hit: None,
        on_resolved=lambda _seconds: None,
    )
    found: dict[tuple[str, str], list[str]] = {}
    ours = PathPolicy(encrypt_keys) if encrypt_keys else None
    policies = Policies(PathPolicy(secret_paths), PathPolicy(transit_keys), ours)
    known, own = _targets(folder, Layout(search_paths, envs))
    patterns = {each.name: each.patterns for each in repositories}
    targets = [each for each in known if _is_read_from(repository, matching(patterns, each.services, each.envs))]
    for target in targets:
        for place, reason in _problems(target, folder.tree, loader, policies, aliases):
            found.setdefault((place, reason), []).append(f"{target.service}/{target.env}")
    broken = [Finding(place, reason, tuple(whom)) for (place, reason), whom in found.items()]
    return Report(len(targets), (*own, *broken))


def _is_read_from(repository: str, names: Sequence[str]) -> bool:
    return repository in names if names else not repository


def _targets(folder: Folder, layout: Layout) -> tuple[list[Target], list[Finding]]:
    """Those of targets.toml, else those that files are named after; and what is wrong with the folder's own files."""
    blobs = folder.tree.blobs
    wrong: list[Finding] = []
    listed = None
    try:
        listed = read_targets(_read(folder, blobs[TARGETS_FILE])) if TARGETS_FILE in blobs else None
    except BadConfiguration as bad:
        wrong.append(_finding(bad))
    try:
        if FREEZE_FILE in blobs:
            read_freeze(_read(folder, blobs[FREEZE_FILE]))
    except BadConfiguration as bad:
        wrong.append(_finding(bad))
    named = layout.targets(blobs) if listed is None else listed
    return [Target(service, (env,), _LABEL) for service, env in sorted(named)], wrong


def _problems(
    target: Target, tree: Tree, loader: Loader, policies: Policies, aliases: frozenset[str]
) -> Iterator[tuple[str, str]]:
    try:
        effective = loader.load(target, tree)
    except BadConfiguration as bad:
        finding = _finding(bad)
        yield finding.place, finding.reason
    else:
        yield from _refused(target, effective, policies, aliases)
    for problem in loader.unapplied(target, tree):
        yield _place(problem.path, problem.line), f"the schema cannot be applied: {problem.reason}"


def _refused(
    target: Target, effective: Effective, policies: Policies, aliases: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """References that the path policy forbids, or whose alias no mount has."""
    by_key: Mapping[str, str] = {
        key: reason
        for reference, keys in effective.references.items()
        if (reason := _reason(reference, target, policies, aliases))
        for key in keys
    }
    for key, reason in by_key.items():
        origin = effective.origins[key]
        yield _place(origin.path, origin.line), f"{key}: the secret reference {reason}"


def _reason(reference: Reference, target: Target, policies: Policies, aliases: frozenset[str]) -> str | None:
    if reference.is_cipher:
        named = replace(reference, path=alias_of(reference.path) or DEFAULT_KEY)
        allowed = policies.encrypt_keys is None or policies.encrypt_keys.allows(named, target)
        return None if allowed else "names a key that is not this target's to use"
    if not reference.is_transit and reference.alias not in aliases:
        return "names a mount that there is not"
    policy = policies.keys if reference.is_transit else policies.paths
    return None if policy.allows(reference, target) else "is not this target's to use"


def _read(folder: Folder, blob: Blob) -> bytes:
    return folder.blob(blob.id, limit=1 << 20)


def _finding(bad: BadConfiguration) -> Finding:
    return Finding(_place(bad.path, bad.line), bad.reason)


def _place(path: str, line: int | None) -> str:
    return f"{path}:{line}" if line else path
