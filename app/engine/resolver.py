"""What a target's configuration is now: at the head, or at the last good version when the head is bad for it."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeAlias, cast

from app.cache import LocalCache
from app.effective import NO_DOCUMENTS, Documents, as_written, fill, fingerprint, mask
from app.engine.loader import ReadsTrees
from app.engine.mirrors import Reads
from app.engine.sources_in import NOTHING_SOURCED, Read, SourceReader
from app.engine.vault_in import Denied, SecretReader, Secrets
from app.engine.world import Head, World
from app.errors import BadConfiguration, ConfigServerError, SecretRefused, SecretsUnavailable, Unprocessable
from app.model import Effective, Json, RefKind, SecretPath, Stale, StaleReason, Target, Tree, View, shown_commit
from app.notify import Announced, Hold, Rev
from app.observability import span
from app.repository import ObjectLost
from app.secrets import Held, Known
from app.secrets.flight import SingleFlight

#: How many first-parent commits that touch a target's files are tried when no announced head is good.
LAST_GOOD_DEPTH = 50
REFUSAL_SECONDS = 1.0


@dataclass(frozen=True)
class Resolution:
    """The answer for one target, before it is written in a format.

    `commit` is where the content comes from: as `version` says it too, but that it names further repositories; `head`
    is where the label stands. `stale` tells why they differ. `unresolved`
    are the keys whose references stay as written because the label is not protected. `sources` are the documents of
    Vault that it has, or would have, as a whole.
    """

    target: Target
    effective: Effective
    secrets: Secrets
    commit: str
    head: str
    etag: str
    stale: tuple[Stale, ...] = ()
    unresolved: tuple[str, ...] = ()
    sources: Read = ()

    @property
    def version(self) -> str:
        """The commit of the content; of several repositories each one's, with commas between."""
        return shown_commit(self.commit)

    def document(self, view: View) -> dict[str, Json]:
        """The configuration as `view` may see it; not to be changed, and with View.RESOLVED (plaintext) not kept."""
        if not self.effective.references:
            return cast("dict[str, Json]", dict(self.effective.values))
        if view is View.MASKED:
            return mask(self.effective.values)
        if self.unresolved:
            return as_written(self.effective.values)
        try:
            return fill(self.effective.values, self.secrets.lookup)
        except ValueError as exc:  # a secret that is a map, inside a text: the message names the key path only
            raise SecretRefused(
                [str(exc).rpartition(":")[0]], "the secret is not a value that can stand there"
            ) from exc

    def etag_in(self, view: View) -> str:
        """The etag of `document(view)`: who held the masked one and may see the other holds something else."""
        return self._masked_etag if view is View.MASKED and self.effective.references else self.etag

    @cached_property
    def _masked_etag(self) -> str:
        return hashlib.sha256(f"{self.etag} masked".encode()).hexdigest()[:32]

    @cached_property
    def topic(self) -> str:
        return self.target.topic

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(self.effective.origins)


#: target, the label's commit and hold, and whether secrets may be filled in there.
_Key: TypeAlias = tuple[Target, str, Hold | None, bool]


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A Resolution, and until when (monotonic seconds) it may be used before the head is tried again.

    `former` are the heads among which it was found, if it is an older version.
    """

    resolution: Resolution
    retry_at: float
    key: _Key
    former: tuple[Announced, ...] = ()

    def stands(self, head: Head, now: float) -> bool:
        """Also when the label has come back to this commit: the newest good version may be another one by now."""
        return now < self.retry_at and (not self.resolution.stale or self.former == head.former)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A failure, and until when its next caller is told so without asking again. Keeps a crowd off Vault and Git."""

    failure: ConfigServerError
    retry_at: float


class Loads(Protocol):
    """From a target and a tree to an Effective, and what that depends on: see Loader."""

    def load(self, target: Target, tree: Tree, documents: Documents = NO_DOCUMENTS) -> Effective: ...

    def knows(self, target: Target, tree: Tree) -> bool: ...

    def names_service(self, target: Target, tree: Tree) -> bool: ...

    def own_paths(self, target: Target, tree: Tree) -> frozenset[str]: ...

    def inputs(self, target: Target) -> tuple[str, ...]: ...

    def inputs_at(self, target: Target, tree: Tree) -> tuple[str, ...]: ...


class Resolver:
    """Thread-safe. `etag_key` is secret: from an etag nobody can guess what it stands for.

    `tolerant`: who writes the answer says what could not be decrypted; else such a configuration is refused.
    """

    def __init__(
        self,
        repository: Reads,
        trees: ReadsTrees,
        loader: Loads,
        reader: SecretReader,
        *,
        sources: SourceReader,
        etag_key: bytes,
        retry_seconds: float,
        tolerant: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tolerant = tolerant
        self._sources = sources
        self._repository = repository
        self._trees = trees
        self._loader = loader
        self._reader = reader
        self._etag_key = etag_key
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._remembered: LocalCache[_Key, _Remembered] = LocalCache(4096)
        self._refused: LocalCache[tuple[_Key, Rev], _Refused] = LocalCache(1024)
        self._served: LocalCache[Target, Resolution] = LocalCache(4096)
        self._flights: SingleFlight[tuple[_Key, Rev], Resolution] = SingleFlight()

    def resolve(self, world: World, head: Head, target: Target, *, protected: bool) -> Resolution:
        """The configuration of `target` where `head` stands.

        Raises BadConfiguration or SecretRefused when neither the head nor an older version is good, SecretsUnavailable
        when Vault does not answer and nothing is held, RepositoryUnavailable, ObjectLost.
        """
        key = (target, *head.state, protected)
        known = self._remembered.get(key)
        if known is not None and known.stands(head, self._clock()):
            fresh = self._with_current_secrets(known, world)
            if fresh is not None:
                return fresh
        refused = self._refused.get((key, world.rev))
        if refused is not None and self._clock() < refused.retry_at:
            raise copy.copy(refused.failure)
        return self._flights.do((key, world.rev), lambda: self._resolve_anew(world, head, target, protected=protected))

    def held_back(self) -> Mapping[Target, Stale]:
        """The targets that this worker serves from an older version, and why."""
        return {each.target: each.stale[0] for each in self._served.values() if each.stale}

    def served(self) -> list[Target]:
        """The targets that this worker has served or tried to, as far as it remembers."""
        return [
            *(each.target for each in self._served.values()),
            *(target for (target, *_), _ in self._refused.names()),
        ]

    def recent(self, label: str) -> list[Target]:
        """The targets of a label that this worker has served, as far as it remembers."""
        return [each.target for each in self._served.values() if each.target.label == label]

    def forget_adopted(self) -> None:
        """A new epoch has begun: the versions of secrets are agreed upon anew."""
        self._reader.forget_adopted()

    def vault_stale(self, resolution: Resolution) -> tuple[Stale, ...]:
        """Told of an answer whose secrets come from memory because Vault does not answer."""
        if not resolution.secrets.stale or any(each.reason is StaleReason.VAULT for each in resolution.stale):
            return ()
        return (Stale(StaleReason.VAULT, self._reader.unavailable_since()),)

    def held(self, resolution: Resolution, world: World) -> Held | None:
        """What `resolution` needs of Vault: as long as that `holds`, it is what this world has.

        None where it may become another without that: it is stale, or lacks a document that may come.
        """
        sources = [secret for _, secret in resolution.sources if secret is not None]
        if resolution.stale or resolution.secrets.stale or len(sources) < len(resolution.sources):
            return None
        reader = self._reader.acting_for(resolution.target.service)
        referred = reader.held(resolution.secrets.documents, world.secrets)
        whole = self._reader.held(sources, world.secrets)
        return None if referred is None or whole is None else referred + whole

    def holds(self, held: Held) -> bool:
        return self._reader.holds(held)

    def is_own(self, resolution: Resolution) -> bool:
        """Whether something configures this service, and not only all services."""
        own = self._loader.own_paths(resolution.target, self._trees.at(resolution.commit))
        return not own.isdisjoint(resolution.effective.paths)

    def inputs(self, target: Target) -> tuple[str, ...]:
        """Every path whose change can change this target, absent files too."""
        return self._loader.inputs(target)

    def effective_at(
        self, target: Target, tree: Tree, *, protected: bool, documents: Documents = NO_DOCUMENTS
    ) -> Effective:
        """The target in a tree, as far as Vault need not be asked. Raises BadConfiguration, SecretRefused."""
        effective = self._loader.load(target, tree, documents)
        if protected:
            self._reader.check(effective, target)
        return effective

    def _with_current_secrets(self, remembered: _Remembered, world: World) -> Resolution | None:
        """It with its secrets as announced now; None when they cannot be had and the long way must be gone."""
        known = remembered.resolution
        if not known.secrets.by_reference and not known.sources:
            return known
        try:
            if not self._sources.still(known.sources, known.target, world.secrets):
                return None
            secrets = self._secrets(known.effective, world.secrets, known.target)
        except (SecretRefused, SecretsUnavailable):
            return None
        if secrets.same_as(known.secrets):
            return known
        fresh = replace(known, secrets=secrets, etag=self._etag(known.effective, secrets))
        self._remember(replace(remembered, resolution=fresh))
        return fresh

    def _resolve_anew(self, world: World, head: Head, target: Target, *, protected: bool) -> Resolution:
        try:
            with span("config.resolve", **{"config.topic": target.topic}):
                resolution = self._good(world, head, target, protected=protected)
        except (Unprocessable, SecretsUnavailable) as failure:
            refused = _Refused(copy.copy(failure), self._clock() + REFUSAL_SECONDS)
            self._refused.put(((target, *head.state, protected), world.rev), refused)
            raise
        waiting = any(stale.reason in {StaleReason.SECRET, StaleReason.VAULT} for stale in resolution.stale)
        retry_at = self._clock() + self._retry_seconds if waiting else float("inf")
        self._remember(_Remembered(resolution, retry_at, (target, *head.state, protected), head.former))
        return resolution

    def _good(self, world: World, head: Head, target: Target, *, protected: bool) -> Resolution:
        try:
            found = self._at(world, head, target, head.serves, protected=protected)
            return replace(found, stale=(_held(head.hold, head.commit),)) if head.hold else found
        except Unprocessable as failure:
            if head.kind is not RefKind.BRANCH or (isinstance(failure, Denied) and failure.in_use):
                raise
            return self._last_good(world, head, target, failure, protected=protected)
        except SecretsUnavailable:
            return self._last_served(world, head, target)

    def _remember(self, remembered: _Remembered) -> None:
        resolution = remembered.resolution
        self._remembered.put(remembered.key, remembered)
        self._served.put(resolution.target, resolution)

    def _at(self, world: World, head: Head, target: Target, commit: str, *, protected: bool) -> Resolution:
        tree = self._trees.at(commit)
        sourced = NOTHING_SOURCED
        if protected:
            sourced = self._sources.read(target, world.secrets, watched=self._loader.knows(target, tree))
        effective = self.effective_at(target, tree, protected=protected, documents=sourced.documents)
        if not protected:
            unresolved = tuple(key for keys in effective.references.values() for key in keys)
            secrets = Secrets({})
        else:
            unresolved = ()
            secrets = self._secrets(effective, world.secrets, target)
        etag = self._etag(effective, secrets)
        stands = shown_commit(head.commit)
        resolution = Resolution(target, effective, secrets, commit, stands, etag, (), unresolved, sourced.read)
        resolution.document(View.RESOLVED)  # what cannot be filled in is found before anyone is told of it
        return resolution

    def _last_good(
        self, world: World, head: Head, target: Target, failure: Unprocessable, *, protected: bool
    ) -> Resolution:
        """The newest good version before the head, or `failure` again when there is none."""
        reason = StaleReason.SECRET if isinstance(failure, Denied) else StaleReason.INVALID
        since = head.at
        named = self._loader.names_service(target, self._trees.at(head.commit))
        for former in self._former_versions(head, target):
            try:
                if named and not self._loader.names_service(target, self._trees.at(former.commit)):
                    break  # before the service was there: what it would get is not its configuration
                good = self._at(world, head, target, former.commit, protected=protected)
            except (BadConfiguration, SecretRefused, ObjectLost):
                since = former.at or since
                continue
            return replace(good, stale=(Stale(reason, since, shown_commit(head.commit), str(failure)),))
        raise failure

    def _former_versions(self, head: Head, target: Target) -> Iterator[Announced]:
        """Announced heads first, newest first: all hosts know the same ones. Then the history of the files."""
        yield from head.former
        tried = {former.commit for former in head.former}
        inputs = self._loader.inputs_at(target, self._trees.at(head.commit))
        for commit in self._repository.first_parents(head.commit, inputs, limit=LAST_GOOD_DEPTH):
            if commit not in tried:
                yield Announced(commit, "")

    def _last_served(self, world: World, head: Head, target: Target) -> Resolution:
        """While Vault does not answer: what this worker served before, if its own secrets are still at hand."""
        served = self._served.get(target)
        if served is None:
            raise SecretsUnavailable("the secrets of this configuration cannot be read at the moment")
        secrets = self._secrets(served.effective, world.secrets, target)
        shown = shown_commit(head.commit)
        stale = Stale(StaleReason.VAULT, self._reader.unavailable_since(), shown)
        etag = self._etag(served.effective, secrets)
        return replace(served, secrets=secrets, head=shown, etag=etag, stale=(stale,))

    def _secrets(self, effective: Effective, announced: Mapping[SecretPath, Known], target: Target) -> Secrets:
        """Raises SecretRefused, SecretsUnavailable."""
        secrets = self._reader.acting_for(target.service).read(effective, announced)
        if secrets.unreadable and not self._tolerant:
            keys = [key for reference in secrets.unreadable for key in effective.references[reference]]
            raise SecretRefused(sorted(keys), "the value cannot be decrypted")
        return secrets

    def _etag(self, effective: Effective, secrets: Secrets) -> str:
        versions: Mapping[str, str] = secrets.versions
        text = fingerprint(effective) + b"\0" + json.dumps(versions, sort_keys=True).encode()
        return hmac.digest(self._etag_key, text, hashlib.sha256).hex()[:32]


def _held(hold: Hold, head: str) -> Stale:
    return Stale(StaleReason.HELD, hold.since, head, hold.reason)
