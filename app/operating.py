"""The wiring of what operators do: plans and changes, holds, history, who is connected, and what is told outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from app.access import Access
from app.aside import aside
from app.audit import AuditEvent
from app.auditing import Auditing
from app.cache import LocalCache, NoSharedCache, RedisLink
from app.changes import Around, Changes, Holds, Intents, Leave, Planner, StagedBlobs
from app.effective import Layout, Overrides
from app.engine import (
    ConfigEngine,
    Histories,
    History,
    Instances,
    Loader,
    Locates,
    Problems,
    ReadsTrees,
    Resolver,
    Schemas,
    SecretReader,
    SourceReader,
    Targets,
    World,
)
from app.errors import RepositoryUnavailable, SettingsError
from app.further import FurtherRepositories
from app.hooks import Announced, Arrivals
from app.notices import Moved, Notices, Outbox
from app.notices.signing import TOLERANCE, key_of
from app.notify import CursorStore, Presence
from app.observability import Metrics
from app.repository import FurtherRepository, GitConfigBackend, GitCredentials, GitWriter
from app.server_key import derive
from app.settings import Settings

#: How long a change waits until this worker has installed it, in seconds.
_PATIENCE = 20
#: How long it is remembered in Redis that a notice has been told, in seconds.
_TOLD_SECONDS = 86_400


class Core(Protocol):
    """The parts of a server that these lean on."""

    settings: Settings
    metrics: Metrics
    search_paths: tuple[str, ...]

    @property
    def key(self) -> bytes: ...
    @property
    def link(self) -> RedisLink | None: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def overrides(self) -> Overrides: ...
    @property
    def source_reader(self) -> SourceReader: ...
    @property
    def repository(self) -> GitConfigBackend: ...
    @property
    def trees(self) -> ReadsTrees: ...
    @property
    def further(self) -> FurtherRepositories: ...
    @property
    def loader(self) -> Loader: ...
    @property
    def resolver(self) -> Resolver: ...
    @property
    def targets(self) -> Targets: ...
    @property
    def placement(self) -> Locates: ...
    @property
    def secret_reader(self) -> SecretReader: ...
    @property
    def engine(self) -> ConfigEngine: ...
    @property
    def cursor(self) -> CursorStore: ...
    @property
    def presence(self) -> Presence: ...
    @property
    def access(self) -> Access: ...
    @property
    def auditing(self) -> Auditing: ...

    def hint(self) -> int: ...


class Operating:
    """Each part made at its first use from those of `core`; making one starts nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._settings = core.settings
        self._told: World | None = None
        self._said: LocalCache[str, bool] = LocalCache(10_000)

    @cached_property
    def planner(self) -> Planner:
        """With a loader of its own: what is planned must push nothing out of the caches that serve."""
        blobs = StagedBlobs(self._core.repository)
        loader = Loader(
            blobs,
            NoSharedCache(),
            Schemas(blobs),
            search_paths=self._core.search_paths,
            on_lookup=lambda _cache, _hit: None,
            on_resolved=lambda _seconds: None,
            overrides=self._core.overrides,
        )
        return Planner(
            self._core.trees,
            self._core.targets,
            blobs,
            loader,
            self._core.secret_reader,
            layout=self._core.layout,
            around=Around(
                lambda: [topic for each in self._core.presence.all() for topic in each["topics"]],
                self._core.engine.recent,
                lambda target: (
                    self._core.source_reader.read(target, self._core.engine.world.secrets, watched=False).documents
                ),
                self._core.placement.repositories,
            ),
            aside=aside,
            key=derive(self._core.key, "plan"),
        )

    @cached_property
    def writer(self) -> GitWriter | None:
        """None: nobody may push."""
        settings = self._settings
        if not settings.may_write:
            return None
        own = not settings.git_write
        credentials = GitCredentials(
            username=settings.git_write_username if own else settings.git_username,
            password_file=settings.git_write_password_file if own else settings.git_password_file,
            ssh_key_file=settings.git_write_ssh_key_file if own else settings.git_ssh_key_file,
            known_hosts_file=settings.git_known_hosts_file,
            ca_file=settings.git_ca_file,
        )
        return GitWriter(
            settings.repo_url,
            settings.data_dir / "mirror",
            settings.data_dir / "drafts",
            credentials=credentials,
            timeout=settings.git_timeout_seconds,
        )

    @cached_property
    def changes(self) -> Changes:
        return Changes(
            self._core.engine,
            self._core.repository,
            self.planner,
            self.writer,
            leave=Leave(self._core.access, self._core.layout, self._settings.envs),
            layout=self._core.layout,
            intents=Intents(self._settings.data_dir / "intents"),
            record=self._record,
            hint=self._core.hint,
            patience=_PATIENCE,
            settle_after=self._settings.timings.settle,
        )

    @cached_property
    def holds(self) -> Holds:
        return Holds(
            self._core.engine,
            self.planner,
            self._core.repository,
            self._core.cursor,
            record=self._record_durably,
            hint=self._core.hint,
            patience=_PATIENCE,
        )

    @cached_property
    def history(self) -> Histories:
        core = self._core
        main = History(core.repository, core.trees, core.loader, core.resolver)
        return Histories(main, {each.name: self._history(each) for each in core.further.described})

    def _history(self, each: FurtherRepository) -> History:
        """Of a further repository by itself, as if it were the only one."""
        core, further = self._core, self._core.further
        repository, trees = further.backends[each.name], further.trees[each.name]
        loader = Loader(
            repository,
            NoSharedCache(),
            further.schemas[each.name],
            search_paths=each.search_paths,
            on_lookup=lambda _cache, _hit: None,
            on_resolved=lambda _seconds: None,
            overrides=core.overrides,
        )
        resolver = Resolver(
            repository,
            trees,
            loader,
            core.secret_reader,
            sources=core.source_reader,
            etag_key=derive(core.key, "etag"),
            retry_seconds=self._settings.secret_watch_seconds,
        )
        return History(repository, trees, loader, resolver)

    @cached_property
    def problems(self) -> Problems:
        return Problems(self._core.engine, self._core.resolver, self._core.loader, self._core.trees)

    @cached_property
    def instances(self) -> Instances:
        return Instances(self._core.engine, self._core.presence.all)

    # What is told outside, and what is told to us

    @cached_property
    def notices(self) -> Notices:
        settings = self._settings
        key = key_of(_secret(settings.notice_secret_file, settings.notice_secret) or b"")
        if settings.notice_urls and not key:
            raise SettingsError(["CONFIG_SERVER_NOTICE_SECRET_FILE: holds nothing"])
        retries, on_outcome = settings.timings.notice_retries, self._core.metrics.count_notice
        outboxes = [Outbox(url, key, retries=retries, on_outcome=on_outcome) for url in settings.notice_urls]
        return Notices(outboxes, self._is_untold, self._files)

    @cached_property
    def webhook_secret(self) -> bytes | None:
        """None: webhooks are not accepted."""
        return _secret(self._settings.webhook_secret_file, self._settings.webhook_secret)

    @cached_property
    def arrivals(self) -> Arrivals:
        return Arrivals(
            self._core.hint,
            self._is_there,
            lambda name: self._is_first("hook", name, TOLERANCE),
            retries=self._settings.timings.hook_retries,
            window=TOLERANCE,
        )

    def installed(self, world: World) -> None:
        """This worker has installed another world: what stands elsewhere than in the one before is told."""
        before, self._told = self._told, world
        for move in moves(before, world) if before is not None else ():
            self.notices.moved(move)
        for name, its_own in before.further.items() if before is not None else ():
            for move in moves(its_own, world.further[name]):
                self.notices.moved(replace(move, repository=name, rev=str(world.rev)))

    def _record(self, event: AuditEvent, *, durable: bool = False) -> None:
        self._core.auditing.trail.record(event, durable=durable)
        self.notices.recorded(event)

    def _record_durably(self, event: AuditEvent) -> None:
        self._record(event, durable=True)

    def _is_untold(self, notice: str) -> bool:
        """Whether nobody has told it; from now on somebody has. Raises BusUnavailable."""
        known = self._said.get(notice)
        self._said.put(notice, True)
        return known is None and self._is_first("notice", notice, _TOLD_SECONDS)

    def _is_first(self, kind: str, name: str, seconds: float) -> bool:
        """Whether no worker has said so before. Raises BusUnavailable."""
        link = self._core.link
        if link is None:
            return True
        key = link.key(f"{kind}:{name}")
        return bool(link.call(lambda client: client.set(key, b"1", nx=True, ex=int(seconds))))

    def _files(self, move: Moved) -> Iterable[str] | None:
        trees: ReadsTrees = self._core.further.trees[move.repository] if move.repository else self._core.trees
        try:
            return trees.advance(move.former, move.commit) if move.former and move.commit else None
        except RepositoryUnavailable:
            return None

    def _is_there(self, said: Announced) -> bool:
        """Whether the branch has come to the commit, or beyond it. Raises RepositoryUnavailable."""
        world, further = self._core.engine.world, self._core.further.backends
        worlds = [(world, self._core.repository), *((world.further[name], each) for name, each in further.items())]
        heads = [(each.heads[said.label].commit, where) for each, where in worlds if said.label in each.heads]
        return any(commit == said.commit or where.is_ancestor(said.commit, commit) for commit, where in heads)


def _secret(file: Path | None, text: str | None) -> bytes | None:
    if file is not None:
        return file.read_bytes().strip() or None
    return text.encode() if text else None


def moves(before: World, after: World) -> Iterator[Moved]:
    """The labels that stand elsewhere, are new, or are gone."""
    for label in sorted(before.heads.keys() | after.heads.keys()):
        former, head = before.heads.get(label), after.heads.get(label)
        if (former.commit if former else None) != (head.commit if head else None):
            commits = former.commit if former else None, head.commit if head else None
            yield Moved(label, *commits, head.at if head else "", str(after.rev))
