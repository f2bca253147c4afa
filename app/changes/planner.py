"""Finds what a change would do: to which targets, per key, and whether they could still be served. Changes nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.aside import in_slices
from app.cache import LocalCache
from app.changes.plan import Outcome, Plan, TargetPlan
from app.changes.proposal import Aside, FileEdit, Proposal, check_own, propose, staged
from app.changes.staged import StagedBlobs
from app.effective import NO_DOCUMENTS, OWN_FOLDER, Documents, Layout, fingerprint
from app.effective.limits import MAX_BYTES
from app.effective.own_files import TARGETS_FILE, read_targets
from app.engine import Head, Loader, ReadsTrees, SecretReader, Targets, World
from app.errors import BadConfiguration, BadInput, ConfigServerError, SecretRefused, UnknownLabel
from app.model import COMMIT, Blob, RefKind, Target, Tree
from app.repository import BlobTooLarge, NewFile

_SCHEMAS = f"{OWN_FOLDER}/schemas/"


@dataclass(frozen=True, slots=True)
class Around:
    """What a planner asks the running server: the topic of every subscription there is, which targets of a label were
    read lately, the documents of Vault that a target has as a whole, and which further repositories a service in some
    envs is read from."""

    topics: Callable[[], Iterable[str]]
    recent: Callable[[str], Iterable[Target]]
    documents: Callable[[Target], Documents]
    elsewhere: Callable[[str, tuple[str, ...]], tuple[str, ...]]


class Planner:
    """Thread-safe. `loader` reads through `blobs`, with caches of its own, so that a plan pushes nothing out of those
    that serve; `aside` computes beside the requests. `key` is secret: nobody can make a plan's id but by planning."""

    def __init__(
        self,
        trees: ReadsTrees,
        targets: Targets,
        blobs: StagedBlobs,
        loader: Loader,
        reader: SecretReader,
        *,
        layout: Layout,
        around: Around,
        aside: Aside,
        key: bytes,
    ) -> None:
        self._trees = trees
        self._targets = targets
        self._blobs = blobs
        self._loader = loader
        self._reader = reader
        self._layout = layout
        self._around = around
        self._aside = aside
        self._key = key
        self._known: LocalCache[str, frozenset[tuple[str, str]]] = LocalCache(4)

    def branch(self, world: World, label: str | None) -> Head:
        """The branch to be changed. Raises UnknownLabel, BadInput for a tag or a commit, RepositoryUnavailable."""
        head = self._targets.head(world, label)
        if head.kind is not RefKind.BRANCH:
            raise BadInput("label", "is not a branch: only a branch is changed")
        return head

    def commit(self, world: World, text: str, field: str) -> str:
        """The commit that a label or an id stands for; it must be reachable. Raises BadInput."""
        try:
            return self._targets.head(world, text).commit
        except UnknownLabel as unknown:
            raise BadInput(field, "is no branch, tag or reachable commit") from unknown

    def tree(self, commit: str) -> Tree:
        return self._trees.at(commit)

    def moved(self, old: str, new: str) -> frozenset[str] | None:
        """The paths that differ between two commits; None when the former is lost."""
        if not COMMIT.fullmatch(old):
            return None
        return self._trees.advance(old, new)

    def edited(self, head: Head, edits: Sequence[FileEdit]) -> Proposal:
        """Raises BadInput, BadConfiguration."""
        return propose(edits, self.tree(head.commit), self.read, self._aside)

    def checked(self, proposal: Proposal) -> Proposal:
        """A proposal of blobs that were there before. Raises BadInput, BadConfiguration for one of the server's own."""
        check_own(proposal, self.read)
        return proposal

    def read(self, blob: Blob) -> bytes:
        """Raises BadInput for a file beyond what is edited here."""
        try:
            return self._blobs.blob(blob.id, limit=MAX_BYTES)
        except BlobTooLarge as exc:
            raise BadInput("edits", "the file is larger than 1 MiB") from exc

    def between(self, head: Head, commit: str) -> Proposal:
        """What would differ if the branch stood at `commit`: also what no edit may touch."""
        after = self.tree(commit).blobs
        return Proposal({path: after.get(path) for path in sorted(self._trees.advance(head.commit, commit) or ())})

    def plan(self, world: World, head: Head, proposal: Proposal) -> Plan:
        """Raises RepositoryUnavailable."""
        for file in proposal.files.values():
            if isinstance(file, NewFile):
                self._blobs.stage(staged(file).id, file.data)
        before = self.tree(head.commit)
        after = proposal.tree(before)
        protected = self._targets.is_protected(world, head)
        followers = Counter(self._around.topics())
        plans: list[TargetPlan] = []
        untouched: list[Target] = []
        concerned = self._concerned(head, before, after, proposal.files, followers)
        for target in in_slices(sorted(concerned, key=lambda each: each.topic)):
            sides = [self._outcome(target, tree, protected=protected) for tree in (before, after)]
            if _content(sides[0]) != _content(sides[1]):
                plans.append(TargetPlan(target, sides[0], sides[1], followers[target.topic]))
            else:
                untouched.append(target)
        files = {path: _op(path, data, before) for path, data in proposal.files.items()}
        return Plan(
            self._id(head, proposal, plans),
            head.label,
            head.commit,
            files,
            tuple(plans),
            proposal.skipped,
            tuple(untouched),
        )

    def _concerned(
        self, head: Head, before: Tree, after: Tree, files: Mapping[str, object], topics: Iterable[str]
    ) -> set[Target]:
        """The known targets that have one of the files among their inputs."""
        reaches = {reach for path in files for reach in self._layout.reaches(path)}
        schemas = any(path.startswith(_SCHEMAS) for path in files)
        places = {self._loader.folders(tree) for tree in (before, after)}
        found = set()
        followed = filter(self._is_ours, _followed(head.label, topics))
        for target in in_slices(self._known_targets(head, before, after).union(followed)):
            if any(reach.covers(target.service, env) for reach in reaches for env in target.envs) and (
                schemas
                or any(each.path in files for folders in places for each in self._loader.candidates(target, folders))
            ):
                found.add(target)
        return found

    def known(self, world: World) -> set[Target]:
        """Every target of the default branch that the repository speaks of, and what was read lately.

        Raises RepositoryUnavailable.
        """
        head = self._targets.head(world, None)
        tree = self.tree(head.commit)
        return self._known_targets(head, tree, tree)

    def bad(self, world: World, targets: Iterable[Target]) -> Iterator[tuple[Head, Target, ConfigServerError]]:
        """Those of `known` that the head of the default branch is bad for, and why. Asks nobody, and is not remembered:
        whom nobody asks for must not push out what is served. Raises RepositoryUnavailable."""
        head = self._targets.head(world, None)
        tree, protected = self.tree(head.commit), self._targets.is_protected(world, head)
        for target in in_slices(sorted(targets, key=lambda each: each.topic)):
            failure = self._outcome(target, tree, protected=protected).failure
            if failure is not None:
                yield head, target, failure

    def _known_targets(self, head: Head, before: Tree, after: Tree) -> set[Target]:
        listed = self._listed(before)
        if listed is None:
            named = self._known.get(before.commit)
            if named is None:
                named = self._aside(lambda: self._layout.targets(before.blobs))
                self._known.put(before.commit, named)
            same = before.blobs.keys() == after.blobs.keys()
            listed = named if same else named | self._aside(lambda: self._layout.targets(after.blobs))
        found = {Target(service, (env,), head.label) for service, env in listed}
        return set(filter(self._is_ours, found)) | set(self._around.recent(head.label))

    def elsewhere(self, service: str, envs: tuple[str, ...]) -> tuple[str, ...]:
        """The further repositories that it is read from, which nothing is written to here."""
        return self._around.elsewhere(service, envs)

    def _is_ours(self, target: Target) -> bool:
        """Whether it is read from this repository, and not from further ones in its place."""
        return not self._around.elsewhere(target.service, target.envs)

    def _listed(self, tree: Tree) -> frozenset[tuple[str, str]] | None:
        """Those of targets.toml; None without one, or with one that cannot be read."""
        blob = tree.blobs.get(TARGETS_FILE)
        try:
            return read_targets(self.read(blob)) if blob else None
        except (BadConfiguration, BadInput):
            return None

    def _outcome(self, target: Target, tree: Tree, *, protected: bool) -> Outcome:
        try:
            documents = self._around.documents(target) if protected else NO_DOCUMENTS
            effective = self._loader.load(target, tree, documents)
        except (BadConfiguration, SecretRefused) as failure:
            return Outcome(None, failure)
        try:
            self._reader.check(effective, target)
        except SecretRefused as refused:
            return Outcome(effective, refused if protected else None, refused.keys)
        return Outcome(effective)

    def _id(self, head: Head, proposal: Proposal, plans: Sequence[TargetPlan]) -> str:
        blobs = {path: blob and [blob.mode, blob.id] for path, blob in proposal.blobs().items()}
        outcomes = [[each.target.topic, _content(each.before).hex(), _content(each.after).hex()] for each in plans]
        text = json.dumps([head.label, head.commit, blobs, outcomes], sort_keys=True)
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()[:40]


def _followed(label: str, topics: Iterable[str]) -> set[Target]:
    split = [topic.split("/", 2) for topic in topics]
    return {Target(service, tuple(env.split(",")), label) for service, env, of_label in split if of_label == label}


def _content(outcome: Outcome) -> bytes:
    """Equal for outcomes between which a reader sees no difference."""
    failure = repr(str(outcome.failure)).encode() if outcome.failure else b""
    return (fingerprint(outcome.effective) if outcome.effective else b"-") + b"\0" + failure


def _op(path: str, data: object, before: Tree) -> str:
    return "delete" if data is None else "change" if path in before.blobs else "add"
