"""Rolling back and promoting, as proposals: which files become what another tree, or another env, has. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.changes.proposal import Proposal
from app.effective import EditRefused, Layout, Reach, check_path, folders_of
from app.errors import BadInput
from app.model import Blob, Tree
from app.repository import NewFile


@dataclass(frozen=True, slots=True)
class Scope:
    """What is rolled back: the files of a service, these files, or (neither) everything."""

    service: str | None = None
    files: tuple[str, ...] = ()


def restored(before: Tree, after: Tree, scope: Scope, layout: Layout) -> Proposal:
    """The files of the scope as `after` has them. What is no plain file on one side is skipped, and told; so is what
    by its name may be another service's as well.

    Raises BadInput for a file that is in neither tree.
    """
    for path in scope.files:
        if path not in before.blobs and path not in after.blobs:
            raise BadInput("files", f"{path[:200]!a} is in neither commit")
    differing = sorted({path for path, _ in before.blobs.items() ^ after.blobs.items()})
    wanted = [path for path in differing if _is_meant(path, scope, layout)]
    proposal = _proposal(wanted, {path: after.blobs.get(path) for path in wanted}, before, after)
    shared = [
        path
        for path in differing
        if path not in proposal.files and path not in proposal.skipped and _names(path, scope.service, layout)
    ]
    return replace(proposal, skipped=(*proposal.skipped, *shared))


def promoted(tree: Tree, service: str, envs: tuple[str, str], layout: Layout) -> Proposal:
    """Each file of the service in the first env, as the file of the same name in the second. None is deleted.

    Raises BadInput when there is no such file, or nothing would differ.
    """
    source, target = Reach(service, envs[0]), Reach(service, envs[1])
    files: dict[str, Blob | None] = {}
    for path, blob in tree.blobs.items():
        if source in layout.reaches(path):
            other = _renamed(path, service, envs)
            if target not in layout.reaches(other):
                raise BadInput("service", f"{path[:200]}: has no counterpart in the other env by its name")
            files[other] = blob
    if not files:
        raise BadInput("service", "has no file of its own in the env to promote from")
    wanted = [path for path, blob in files.items() if tree.blobs.get(path) != blob]
    return _proposal(sorted(wanted), files, tree, tree)


def _is_meant(path: str, scope: Scope, layout: Layout) -> bool:
    if scope.files:
        return path in scope.files
    if scope.service is None:
        return True
    reaches = layout.reaches(path)
    return bool(reaches) and all(reach.service == scope.service for reach in reaches)


def _names(path: str, service: str | None, layout: Layout) -> bool:
    return service is not None and any(reach.service == service for reach in layout.reaches(path))


def _proposal(paths: Iterable[str], blobs: dict[str, Blob | None], before: Tree, after: Tree) -> Proposal:
    files: dict[str, NewFile | Blob | None] = {}
    skipped = []
    sides = [(tree.blobs, folders_of(tree.blobs)) for tree in (before, after)]
    for path in paths:
        try:
            for side, folders in sides:
                check_path(path, side, folders)
        except EditRefused:
            skipped.append(path)
        else:
            files[path] = blobs[path]
    return Proposal(files, skipped=tuple(skipped))


def _renamed(path: str, service: str, envs: tuple[str, str]) -> str:
    """`pay-dev.yml` -> `pay-prod.yml`; a folder that is named after the env becomes the other's."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if stem.endswith(f"-{envs[0]}"):
        stem = f"{stem[: -len(envs[0])]}{envs[1]}"
    parts = [envs[1] if part == envs[0] and part != service else part for part in folder.split("/")]
    return f"{'/'.join(parts)}{slash}{stem}{dot}{extension}"
