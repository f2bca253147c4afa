"""The composition root: Settings in, objects out. The only place that names concrete backends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry

from app.access import (
    Access,
    FailedAttempts,
    FileKeys,
    Issuer,
    IssuerProfile,
    Issuers,
    JwksKeys,
    Keys,
    LocalTickets,
    Rbac,
    RedisTickets,
    Revocations,
    Tickets,
    TokenVerifier,
    fetch_document,
    load_rbac,
)
from app.audit import AuditAggregate, AuditEvent, AuditTrail, Outcome
from app.auditing import Auditing
from app.cache import NoSharedCache, RedisLink, RedisSharedCache, SharedCache
from app.effective import (
    DEFAULT_ENV,
    NO_OVERRIDES,
    Layout,
    Overrides,
    SecretSources,
    checked_search_path,
    read_overrides,
)
from app.engine import (
    CipherReader,
    ConfigEngine,
    EachVouched,
    EveryHead,
    EverySchema,
    EveryTree,
    HistoryKeeper,
    Installer,
    Loader,
    Locates,
    Mirrors,
    PlainFiles,
    Puller,
    Reader,
    ReadRequest,
    Reads,
    ReadsTrees,
    Resolution,
    Resolver,
    Rollouts,
    Schemas,
    SecretReader,
    SecretWatch,
    SourceReader,
    SpringEnvironments,
    SpringFiles,
    SpringLoader,
    SpringRequest,
    Targets,
    Telling,
    Touched,
    TransitReader,
    Trees,
    Versions,
    VouchedHeads,
    Vouching,
    World,
    cursor_of,
    is_configuration_of,
    looking,
)
from app.errors import BadConfiguration, SettingsError
from app.follower import Follower
from app.further import FurtherRepositories
from app.issuer_profiles import issuer_profiles
from app.model import OF, Principal, RefKind, SecretPath, Stale, StaleReason, Target, View
from app.notify import (
    Bus,
    ConfigChangeNotifier,
    Cursor,
    CursorStore,
    HeadsFile,
    Hints,
    LocalBus,
    LocalCursorStore,
    LocalLeases,
    LocalPresence,
    Presence,
    RedisBus,
    RedisCursorStore,
    RedisLeases,
    RedisPresence,
    Rev,
    channel_of,
    new_epoch,
    now_text,
)
from app.observability import Behalf, Health, Metrics, current_cause, open_span, start_traces
from app.operating import Operating
from app.parts import MeasuredBackend, parts_of, signatures_part
from app.repository import GitConfigBackend, GitCredentials, MirrorLock
from app.scheduler import Outcome as PullOutcome
from app.scheduler import Scheduler
from app.secrets import (
    Breaker,
    KeyRing,
    Known,
    NoSecretBackend,
    PathPolicy,
    SecretBackend,
    SecretStore,
    Transit,
    VaultSecretBackend,
    VersionWatch,
)
from app.server_key import derive, load_server_key
from app.settings import Settings
from app.streams import Listener, Looks, StreamLimits, StreamLoop, StreamPolicy
from app.vault_setup import new_backend, read_keys
from app.version import VERSION

log = structlog.get_logger(__name__)


def _nothing() -> None:
    """Without Vault there is no token to keep alive."""


def _in_new_epoch(cursor: Cursor) -> Cursor:
    """What a lone worker starts with: after a crash the file may lack the last numbers that were told to clients."""
    return replace(cursor, rev=Rev(new_epoch(cursor.rev.epoch), cursor.rev.seq))


class _Part(Protocol):
    """What has a life."""

    def start(self) -> object: ...

    def close(self) -> object: ...


#: The one configuration repository of today. Every key is by (repository, label) already.
REPOSITORY = "default"


class Services:
    """Every object of one worker, each made at its first use from those it needs.

    Making them starts nothing and opens no connection, so it may happen before a fork. `start` and `close` are called
    once each. Raises SettingsError, RbacError, ValueError for settings that make no server.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self.settings = settings
        self.timings = settings.timings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.key = load_server_key(settings.key_file, settings.data_dir)
        self.search_paths = tuple(checked_search_path(path) for path in settings.search_paths)
        self.further = FurtherRepositories(settings, self.envs)
        self.metrics = Metrics(registry, VERSION)
        self.metrics.set_streams_limit(settings.streams_per_worker)
        self.notifier = ConfigChangeNotifier(settings.streams_per_worker)
        self.hints = Hints(settings.data_dir / "hint")
        self.fetching, self.following = Behalf(), Behalf()
        self._closing = ExitStack()
        self._closing.callback(self.metrics.close)
        self._started = False

    # Life

    def start(self) -> None:
        """Start the threads, in the order in which they lean on each other. After the fork, never before."""
        if self._started:
            return
        self._started = True
        self._closing.callback(start_traces())
        if self.link is not None:
            self._closing.callback(self.link.close)
        for backend in (self.repository, *self.further.backends.values()):
            self._closing.callback(backend.close)
        if self.vault is not None:
            self._closing.callback(self.vault.close)
        if self.link is None:
            self._closing.callback(self.puller.keep)
        parts: list[_Part | None] = [
            self.trail,
            self.audit,
            self.auditing.shipper,
            self.operating.notices,
            self.operating.arrivals,
            self.issuers,
            self.presence,
            self.stream_loop,
            self.follower,
            self.secret_watch,
            self.history_keeper,
            self.scheduler,
            *self.further_schedulers,
        ]
        for part in parts:
            if part is not None:
                part.start()
                self._closing.callback(part.close)
        for scheduler in (self.scheduler, *self.further_schedulers):
            self._closing.callback(scheduler.stop)
        self.bus.start(self._on_message)
        self._closing.callback(self.bus.close)

    def drain(self, *, at_once: bool = False) -> None:
        """Answer every long poll, and say goodbye to the streams, spread over a while or `at_once`; refuse new ones."""
        self.notifier.drain(at_once=at_once)

    @property
    def streaming(self) -> bool:
        """Whether a stream is still to be told goodbye, or to be seen off."""
        return len(self.stream_loop) > 0

    def close(self) -> None:
        """End the threads. Streams that are still there are told goodbye at once."""
        self.drain(at_once=True)
        self._closing.close()

    def hint(self) -> int:
        """Ask the pullers of all hosts to fetch now; returns the number that heads.json reaches when ours has."""
        self.fetching.note(current_cause())
        number = self.hints.give()
        self.bus.hint()
        return number

    def revoke(self, kind: str, issuer: str, value: str) -> None:
        """Refuse a token (jti) or subject (sub) for as long as a token may live."""
        named = self.issuers.named(issuer)
        self.revocations.revoke(kind, named.issuer, value, time.time() + named.max_lifetime + named.leeway)
        self.bus.moved()

    def record(self, event: AuditEvent) -> None:
        """On disk before this returns: for what must not happen unrecorded. Raises AuditUnavailable."""
        self.trail.record(event, durable=True)

    @cached_property
    def operating(self) -> Operating:
        return Operating(self)

    def _on_message(self, kind: str, cause: str | None) -> None:
        if kind == "hint":
            self.fetching.note(cause)
            self._wake_pullers()
            if self.scheduler.is_puller:
                log.info("fetch.asked", request_id=cause and cause.split()[0])
        elif kind == "moved":
            self.following.note(cause)
            self.follower.wake()
            if self.engine.installed and self.engine.world.rev.is_host_local:
                self._wake_pullers()  # Redis is back: announce to it what this host has numbered alone

    def _wake_pullers(self) -> None:
        for scheduler in (self.scheduler, *self.further_schedulers):
            scheduler.wake()

    # Between workers

    @cached_property
    def link(self) -> RedisLink | None:
        url = self.settings.redis_url
        if url is None:
            return None
        timings = self.timings
        return RedisLink(url, namespace=self.settings.namespace, timeout=timings.redis, pause=timings.redis_pause)

    @cached_property
    def heads(self) -> HeadsFile:
        """The follower's; it remembers what it has read, so every other reader has one of its own."""
        return self.new_heads()

    def new_heads(self) -> HeadsFile:
        return HeadsFile(self.settings.data_dir / "heads.json")

    def withheld(self) -> Mapping[str, str]:
        """Labels that are not served at their head, as it is not signed, each with that commit.

        Those of further repositories as the cursor has them, `NAME:LABEL`.
        """
        state = self.new_heads().read() if self.settings.require_signed_commits else None
        if state is None:
            return {}
        further = {
            f"{name}{OF}{label}": commit
            for name, fetched in state.further.items()
            for label, commit in fetched.withheld.items()
        }
        return {**state.withheld, **further}

    @cached_property
    def cursor(self) -> CursorStore:
        if self.link is not None:
            return RedisCursorStore(self.link, REPOSITORY)
        known = self.new_heads().read()
        return LocalCursorStore(_in_new_epoch(known.cursor) if known else None, on_move=self._moved)

    @cached_property
    def bus(self) -> Bus:
        if self.link is None:
            return LocalBus()
        return RedisBus(self.link, channel_of(self.link, REPOSITORY), pause=self.timings.redis_pause)

    @cached_property
    def shared_cache(self) -> SharedCache:
        if self.link is None:
            return NoSharedCache()
        return RedisSharedCache(self.link, mac_key=derive(self.key, "cache"))

    def _moved(self) -> None:
        self.following.note(current_cause())
        self.follower.wake()

    # From Git to an answer

    @cached_property
    def git_credentials(self) -> GitCredentials:
        settings = self.settings
        return GitCredentials(
            username=settings.git_username,
            password_file=settings.git_password_file,
            ssh_key_file=settings.git_ssh_key_file,
            known_hosts_file=settings.git_known_hosts_file,
            ca_file=settings.git_ca_file,
        )

    @cached_property
    def repository(self) -> GitConfigBackend:
        settings = self.settings
        return GitConfigBackend(
            settings.repo_url,
            settings.data_dir / "mirror",
            credentials=self.git_credentials,
            timeout=settings.git_timeout_seconds,
            clone_timeout=settings.git_clone_timeout_seconds,
            allowed_signers=settings.git_allowed_signers_file,
        )

    @cached_property
    def vouching(self) -> Vouching:
        main = VouchedHeads(self.repository) if self.settings.require_signed_commits else EveryHead()
        return EachVouched({"": main, **self.further.vouching}) if self.further else main

    @cached_property
    def reads(self) -> Reads:
        """What is read is asked of the repository that its id names."""
        return Mirrors({"": self.repository, **self.further.backends}) if self.further else self.repository

    @cached_property
    def trees(self) -> ReadsTrees:
        main = Trees(self.repository, self.schemas, self.layout.starred)
        return EveryTree({"": main, **self.further.trees}) if self.further else main

    @cached_property
    def schemas(self) -> Schemas:
        return Schemas(self.repository)

    @property
    def urls(self) -> Mapping[str, str]:
        """Those of the repositories by name, "" being the configuration repository."""
        return {"": self.settings.repo_url, **{each.name: each.url for each in self.further.described}}

    @cached_property
    def loader(self) -> Loader:
        return Loader(
            self.reads,
            self.shared_cache,
            EverySchema({"": self.schemas, **self.further.schemas}) if self.further else self.schemas,
            search_paths=self.search_paths,
            further={each.name: each.search_paths for each in self.further.described},
            on_lookup=lambda cache, hit: self.metrics.count_cache(cache, hit=hit),
            on_resolved=self.metrics.observe_resolve,
            overrides=self.overrides,
        )

    @cached_property
    def overrides(self) -> Overrides:
        """What the operator puts above every file. Raises SettingsError for a file that does not parse."""
        file = self.settings.overrides_file
        if file is None:
            return NO_OVERRIDES
        try:
            return read_overrides(file.suffix.removeprefix("."), file.read_bytes())
        except BadConfiguration as exc:
            raise SettingsError([f"CONFIG_SERVER_OVERRIDES_FILE: {exc.reason} (line {exc.line})"]) from exc

    @cached_property
    def vault(self) -> VaultSecretBackend | None:
        address = self.settings.vault_addr
        return None if address is None else new_backend(self.settings, address, self._on_vault_event)

    @cached_property
    def secret_backend(self) -> SecretBackend:
        if self.vault is None:
            return NoSecretBackend()
        return MeasuredBackend(self.vault, self.metrics.observe_vault_read)

    @cached_property
    def secrets(self) -> SecretStore:
        return SecretStore(
            self.secret_backend,
            ttl=self.settings.secret_ttl_seconds,
            grace=self.settings.secret_grace_seconds,
            digest_key=derive(self.key, "secret digest"),
            breaker=Breaker(open_seconds=self.timings.breaker_open),
            per_service=self.settings.vault_service_token_role is not None,
        )

    @cached_property
    def secret_reader(self) -> SecretReader:
        versions = Versions(self.cursor, lambda: self.engine.world.rev.epoch, self._on_rotated)
        policy = PathPolicy(self.settings.secret_paths)
        aliases = frozenset(self.settings.vault_mounts) if self.settings.vault_addr else frozenset()
        return SecretReader(self.secrets, policy, aliases, versions, self.cipher_reader, self.transit_reader)

    @cached_property
    def cipher_reader(self) -> CipherReader:
        templates = self.settings.encrypt_keys
        return CipherReader(self.encrypt_keys, PathPolicy(templates) if templates else None)

    @cached_property
    def transit_reader(self) -> TransitReader | None:
        return TransitReader(self.transit, PathPolicy(self.settings.transit_keys)) if self.transit else None

    @cached_property
    def transit(self) -> Transit | None:
        if self.vault is None:
            return None
        return Transit(self.secrets, self.vault.holder, self.settings.vault_transit_mount)

    @cached_property
    def source_reader(self) -> SourceReader:
        return SourceReader(SecretSources(self.settings.secret_sources), self.secret_reader)

    @cached_property
    def encrypt_keys(self) -> KeyRing | None:
        """None: encrypted values are left to who reads them."""
        path = self.settings.encrypt_key_file
        return None if path is None else read_keys(path)

    @cached_property
    def resolver(self) -> Resolver:
        return Resolver(
            self.reads,
            self.trees,
            self.loader,
            self.secret_reader,
            sources=self.source_reader,
            etag_key=derive(self.key, "etag"),
            retry_seconds=self.settings.secret_watch_seconds,
        )

    @cached_property
    def targets(self) -> Targets:
        return Targets(
            self.repository,
            envs=self.envs,
            secret_labels=self.settings.secret_labels,
            served_only=self.settings.require_signed_commits,
        )

    @cached_property
    def placement(self) -> Locates:
        return self.further.placement(self.targets) if self.further else self.targets

    @cached_property
    def envs(self) -> tuple[str, ...]:
        """The legal ones, if they are listed."""
        listed = self.settings.envs
        return tuple(dict.fromkeys((*listed, DEFAULT_ENV))) if listed else ()

    @cached_property
    def plain_files(self) -> PlainFiles:
        return PlainFiles(self.reads, self.trees, self.loader, etag_key=derive(self.key, "file etag"))

    @cached_property
    def spring_resolver(self) -> Resolver:
        """With the same parts, but that it puts a target's files side by side."""
        return Resolver(
            self.reads,
            self.trees,
            SpringLoader(self.loader),
            self.secret_reader,
            sources=self.source_reader,
            etag_key=derive(self.key, "etag"),
            retry_seconds=self.settings.secret_watch_seconds,
            tolerant=True,
        )

    @cached_property
    def spring(self) -> SpringEnvironments:
        return SpringEnvironments(
            self.engine,
            self.spring_resolver,
            on_read=self._on_read,
            accept_empty=self.settings.accept_empty,
            continue_on_missing_label=self.settings.continue_on_missing_label,
        )

    @cached_property
    def spring_files(self) -> SpringFiles:
        layouts = {"": self.layout, **self.further.layouts}
        laid_out = is_configuration_of({name: layout.is_configuration for name, layout in layouts.items()})
        return SpringFiles(self.plain_files, laid_out)

    @cached_property
    def engine(self) -> ConfigEngine:
        settings = self.settings
        return ConfigEngine(
            self.placement,
            self.resolver,
            self.plain_files,
            self.notifier,
            hint=self.hint,
            on_read=self._on_read,
            on_waiting=self.metrics.add_long_poll,
            catch_up=self.timings.catch_up,
            accept_empty=settings.accept_empty,
            also_served=self.spring_resolver.served,
        )

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.search_paths, self.settings.envs)

    @cached_property
    def rollouts(self) -> Rollouts:
        return Rollouts(
            self.engine,
            self.repository,
            self.trees,
            self.cursor,
            record=self._record_stop,
            wake=lambda: self.follower.wake(),
            hint=self.hint,
        )

    # What moves it

    @cached_property
    def history_keeper(self) -> HistoryKeeper:
        return HistoryKeeper(self.repository.history, self._branches)

    @cached_property
    def installer(self) -> Installer:
        return Installer(
            self.engine,
            self.repository,
            self.trees,
            self.cursor,
            self.heads,
            touched=Touched(self.notifier, self.trees, looking(self.engine)),
            rollouts=self.rollouts.of,
            prepare=self.looks.prepare,
            on_behind=self.hints.give,
            on_installed=self._on_installed,
            on_rotated=self._on_rotated,
            vouching=self.vouching,
            further=self.further.mirrored,
        )

    @cached_property
    def follower(self) -> Follower:
        return Follower(self._follow, changed=self.heads.changed, look=self.timings.follow, check=self._next_check)

    @cached_property
    def puller(self) -> Puller:
        return Puller(
            self.repository,
            self.telling,
            default_label=self.settings.default_label,
            confirm_after=self.timings.confirm_rewrite,
            pin_days=self.settings.pin_days,
            on_history=self._on_history,
            on_fetched=self._on_fetched,
            vouching=self.vouching,
        )

    @cached_property
    def telling(self) -> Telling:
        return Telling(
            self.cursor,
            self.new_heads(),
            self.hints,
            lambda: cursor_of(self.engine.world) if self.engine.installed else None,
            [each.name for each in self.further.described],
        )

    @cached_property
    def secret_watch(self) -> SecretWatch:
        watch = VersionWatch(self.secret_backend, self.secrets)
        keep_alive = self.vault.keep_alive if self.vault is not None else _nothing
        interval = self.settings.secret_watch_seconds
        return SecretWatch(watch, self.cursor, keep_alive, interval=interval, on_rotated=self._on_rotated)

    @cached_property
    def lock(self) -> MirrorLock:
        return MirrorLock(self.settings.data_dir / "mirror.lock", directory=self.settings.data_dir / "mirror")

    @cached_property
    def scheduler(self) -> Scheduler:
        timings = self.timings
        return Scheduler(
            self._pull,
            self.lock,
            hinted=self.hints.last,
            interval=self.settings.poll_seconds,
            look=timings.follow,
            retry_first=timings.retry_first,
            hint_retries=timings.hint_retries,
            confirm_after=timings.confirm_rewrite,
            lock_retry=timings.lock_retry,
            on_takeover=self._on_takeover,
            on_tick=self._on_tick,
        )

    @cached_property
    def further_schedulers(self) -> list[Scheduler]:
        return self.further.schedulers(
            self.telling,
            self.lock,
            wake_main=lambda: self.scheduler.wake(),
            on_history=self._on_history,
            on_fetched=self._on_further_fetched,
            on_tick=self._on_tick,
        )

    def _on_tick(self) -> None:
        self.follower.wake()
        self.history_keeper.wake()

    def _branches(self) -> list[str]:
        """The commits at which branches stand, the default one first."""
        state = self.new_heads().read()
        cursor = state.cursor if state else None
        labels = sorted(cursor.labels.items(), key=lambda each: each[0] != cursor.default_label) if cursor else []
        own = [head for label, head in labels if OF not in label]
        return [head.commit for head in own if head.commit and head.kind is RefKind.BRANCH]

    # Who asks, and what is kept of it

    @cached_property
    def issuers(self) -> Issuers:
        return Issuers([self._issuer(profile) for profile in issuer_profiles(self.settings)])

    @cached_property
    def access(self) -> Access:
        settings = self.settings
        rbac = load_rbac(settings.rbac_file) if settings.rbac_file else Rbac(())
        verifier = TokenVerifier(self.issuers, rbac, revoked=self.revocations.is_revoked)
        return Access(verifier, envs_listed=bool(settings.envs), unscoped_read=settings.unscoped_read)

    @cached_property
    def revocations(self) -> Revocations:
        return Revocations(
            self.settings.data_dir / "revocations.json", self.link, on_change=self.notifier.wake_everyone
        )

    @cached_property
    def attempts(self) -> FailedAttempts:
        return FailedAttempts(self.link, limit=self.settings.auth_failures_per_minute)

    @cached_property
    def tickets(self) -> Tickets:
        return Tickets(LocalTickets() if self.link is None else RedisTickets(self.link))

    @cached_property
    def presence(self) -> Presence:
        settings, link, seconds = self.settings, self.link, self.timings.lease
        return Presence(
            LocalPresence() if link is None else RedisPresence(link, seconds=seconds),
            LocalLeases() if link is None else RedisLeases(link, seconds=seconds),
            per_instance=settings.streams_per_instance,
            per_subject=settings.streams_per_subject,
            lease_seconds=seconds,
            on_rejected=lambda topic, instance, ack: self.rollouts.rejected(topic, instance, ack),
        )

    @cached_property
    def streams(self) -> StreamPolicy:
        return StreamPolicy(
            engine=self.engine,
            looks=self.looks,
            presence=self.presence,
            authorize=self.access.view,
            verify=self.access.verifier.verify,
            is_revoked=self.revocations.is_revoked,
            heartbeat=self.timings.heartbeat,
            limits=self.stream_limits,
            on_pushed=self.metrics.note_pushed,
            on_delivered=self._on_delivered,
            on_denied=self._on_stream_denied,
        )

    @cached_property
    def looks(self) -> Looks:
        return Looks(self.engine, derive(self.key, "stream digest"))

    @cached_property
    def stream_loop(self) -> StreamLoop:
        return StreamLoop(on_idle=self.metrics.settle)

    @cached_property
    def stream_limits(self) -> StreamLimits:
        timings = self.timings
        return StreamLimits(
            frozenset(self.settings.allowed_origins),
            write_timeout=timings.stream_write,
            max_age=timings.stream_age,
            expiry_warning=timings.expiry_warning,
            drain_seconds=timings.drain,
            catch_up=timings.catch_up,
        )

    @cached_property
    def auditing(self) -> Auditing:
        return Auditing(self.settings, self.metrics, self.link)

    @property
    def trail(self) -> AuditTrail:
        return self.auditing.trail

    @property
    def audit(self) -> AuditAggregate:
        return self.auditing.aggregate

    @cached_property
    def health(self) -> Health:
        health = Health(lambda: self.engine.ready and not self.notifier.draining, time.time)
        secrets = self.secrets if self.vault is not None else None
        parts = parts_of(self.engine, lambda: len(self.held_back()), secrets, self.link, self.issuers, self.trail)
        if self.settings.require_signed_commits:
            parts = {**parts, "signatures": lambda: signatures_part(self.withheld())}
        for name, probe in parts.items():
            health.register(name, probe)
        return health

    def _issuer(self, profile: IssuerProfile) -> Issuer:
        return Issuer(
            profile.issuer,
            frozenset(profile.audience),
            profile.algorithms,
            self._signing_keys(profile),
            permission_claims=profile.permission_claims,
            service_claim=profile.service_claim,
            env_claim=profile.env_claim,
            leeway=profile.leeway_seconds,
            max_lifetime=profile.max_lifetime_seconds,
        )

    def _signing_keys(self, profile: IssuerProfile) -> Keys:
        timings = self.timings
        if profile.public_key_file is not None:
            return FileKeys(profile.public_key_file, algorithms=profile.algorithms)
        return JwksKeys(
            profile.jwks_url,
            issuer=profile.issuer if profile.discovery else None,
            algorithms=profile.algorithms,
            fetch=partial(fetch_document, ca_file=profile.ca_file, token_file=profile.token_file),
            refresh_seconds=timings.keys_refresh,
            min_interval=timings.keys_min_interval,
            keep_seconds=timings.keys_keep,
            on_fetch=self._on_keys_fetched,
        )

    def _pull(self) -> PullOutcome:
        with self.fetching.working():
            return self.puller.tick()

    def _follow(self) -> bool:
        self.revocations.sync()
        self.rollouts.settle()
        with self.following.working():
            installed = self.installer.follow()
        self._tell_staleness()
        if self.link is not None:
            self.metrics.set_bus_up(up=self.link.up)
        return installed

    def _next_check(self) -> float:
        """Seconds until the cursor is looked at whatever the bus says; sooner while Redis is away, to find it back."""
        away = self.link is not None and not self.link.up
        return min(self.timings.head_check, self.timings.redis_pause) if away else self.timings.head_check

    def held_back(self) -> Mapping[Target, Stale]:
        """The targets that are served from an older version, in either dialect, and why."""
        return {**self.spring_resolver.held_back(), **self.resolver.held_back()}

    def _tell_staleness(self) -> None:
        held_back = self.held_back()
        self.operating.notices.held_back(held_back)
        reasons = {stale.reason for stale in held_back.values()}
        if self.engine.installed:
            world = self.engine.world
            reasons |= {stale.reason for each in (world, *world.further.values()) for stale in each.stale}
        if self.vault is not None and self.secrets.status()["state"] != "ok":
            reasons.add(StaleReason.VAULT)
        self.metrics.set_held_back(len(held_back))
        self.metrics.set_withheld(len(self.withheld()))
        for reason in StaleReason:
            self.metrics.set_stale(reason, stale=reason in reasons)

    # What the parts tell

    def _on_read(self, request: ReadRequest | SpringRequest | Reader, resolution: Resolution) -> None:
        self._on_given(request.principal, request.request_id, request.address, request.view, resolution)

    def _on_delivered(self, listener: Listener, view: View, resolution: Resolution) -> None:
        if resolution.secrets.by_reference:
            self._on_given(listener.principal, listener.connection, listener.address, view, resolution)

    def _on_given(
        self, principal: Principal, request_id: str | None, address: str | None, view: View, resolution: Resolution
    ) -> None:
        """Resolved secrets are told to the auditor: who, which configuration, at which version."""
        if view is not View.RESOLVED or not resolution.secrets.by_reference:
            return
        topic = resolution.topic
        if not self.audit.read_again(principal.issuer, principal.subject, topic, resolution.etag):
            event = AuditEvent(
                "secrets.read",
                Outcome.ALLOWED,
                request_id=request_id,
                subject=principal.subject,
                issuer=principal.issuer,
                target=topic,
                version=resolution.version,
                keys=tuple(key for keys in resolution.effective.references.values() for key in keys),
                address=address,
            )
            self.audit.read(event, resolution.etag)

    def _on_stream_denied(self, listener: Listener, topic: str) -> None:
        self.metrics.count_denial("forbidden")
        self.audit.denied(
            AuditEvent(
                "stream.subscribe",
                Outcome.DENIED,
                request_id=listener.connection,
                subject=listener.principal.subject,
                issuer=listener.principal.issuer,
                target=topic,
                address=listener.address,
            )
        )

    def _on_installed(self, world: World, seconds: float, woken: int) -> None:
        self.operating.installed(world)
        self.metrics.set_cursor(world.rev.seq)
        found_at = time.perf_counter() - seconds
        attributes: dict[str, str | int] = {"config.rev": str(world.rev), "config.woken": woken}
        end_span = open_span("config.tell", **attributes)

        def told() -> None:
            self.metrics.observe_push(time.perf_counter() - found_at)
            end_span()

        if woken:
            self.stream_loop.after_these(told)
        else:
            told()
        log.info("world.installed", rev=str(world.rev), woken=woken, seconds=round(seconds, 4))

    def _on_history(self, what: str, label: str, old: str, new: str | None) -> None:
        detail = f"{old[:12]} -> {new[:12] if new else 'nothing'}"
        self.trail.record(AuditEvent(f"label.{what}", Outcome.ALLOWED, target=label, version=new, detail=detail))

    def _on_fetched(self, outcome: str, seconds: float) -> None:
        self.metrics.observe_fetch(outcome, seconds)
        if outcome == "ok":
            self.metrics.set_last_fetch(time.time())
            self.operating.changes.settle()

    def _on_further_fetched(self, name: str, outcome: str, seconds: float) -> None:
        self.metrics.observe_fetch(outcome, seconds)
        if outcome == "ok":
            self.metrics.set_further_fetched(name, time.time())

    def _on_rotated(self, path: SecretPath, known: Known) -> None:
        life = f"{known.digest}{' gone' if known.gone else ''}"
        for repository in (self.repository, *self.further.backends.values()):
            repository.history.note_rotation(path, known.version, life, now_text())

    def _record_stop(self, event: AuditEvent) -> None:
        self.trail.record(event)
        self.operating.notices.recorded(event)

    def _on_takeover(self) -> None:
        self.telling.begin()
        self.lock.clean_up_after_former_holder()
        self.secret_watch.activate()

    def _on_vault_event(self, kind: str, detail: str) -> None:
        tell = log.info if kind == "login" else log.warning
        tell("vault.event", kind=kind, detail=detail)
        if kind == "login_failed":
            self.trail.record(AuditEvent("vault.login", Outcome.FAILED, detail=detail))

    def _on_keys_fetched(self, ok: bool) -> None:
        if ok:
            self.metrics.set_jwks_fetched(time.time())
