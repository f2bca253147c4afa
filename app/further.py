"""The wiring of further configuration repositories: of each one a mirror, its labels, and a thread that pulls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.effective import Layout
from app.engine import (
    EveryHead,
    Further,
    FurtherPuller,
    Mirrored,
    OnHistory,
    Placement,
    Schemas,
    Targets,
    Telling,
    Trees,
    VouchedHeads,
    Vouching,
)
from app.errors import SettingsError
from app.repository import FurtherRepository, GitConfigBackend, MirrorLock, RepositoriesError, load_repositories
from app.scheduler import Beside, Scheduler
from app.settings import Settings


def described_in(path: Path | None) -> tuple[FurtherRepository, ...]:
    """Raises SettingsError naming what is wrong with which entry."""
    try:
        return load_repositories(path) if path is not None else ()
    except RepositoriesError as wrong:
        raise SettingsError([f"CONFIG_SERVER_REPOSITORIES_FILE: {problem}" for problem in wrong.problems]) from wrong


@dataclass(frozen=True, slots=True)
class _Begun:
    """The configuration repository's lock, once its holder has read what was written down before."""

    lock: MirrorLock
    telling: Telling

    @property
    def held(self) -> bool:
        return self.lock.held and self.telling.begun


class FurtherRepositories:
    """Each part of each repository, made at its first use; making one starts nothing. Raises SettingsError."""

    def __init__(self, settings: Settings, envs: tuple[str, ...]) -> None:
        self._settings = settings
        self._envs = envs
        self.described = described_in(settings.repositories_file)

    def __bool__(self) -> bool:
        return bool(self.described)

    def directory(self, name: str) -> Path:
        """Where all that is kept of it is. A name is a part of a path and nothing else."""
        return self._settings.data_dir / "further" / name

    @cached_property
    def backends(self) -> Mapping[str, GitConfigBackend]:
        settings = self._settings
        return {
            each.name: GitConfigBackend(
                each.url,
                self.directory(each.name) / "mirror",
                credentials=each.credentials,
                timeout=settings.git_timeout_seconds,
                clone_timeout=settings.git_clone_timeout_seconds,
                allowed_signers=settings.git_allowed_signers_file,
            )
            for each in self.described
        }

    @cached_property
    def schemas(self) -> Mapping[str, Schemas]:
        return {name: Schemas(backend) for name, backend in self.backends.items()}

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        return {each.name: Layout(each.search_paths, self._settings.envs) for each in self.described}

    @cached_property
    def trees(self) -> Mapping[str, Trees]:
        return {
            name: Trees(backend, self.schemas[name], self.layouts[name].starred)
            for name, backend in self.backends.items()
        }

    @cached_property
    def mirrored(self) -> Mapping[str, Mirrored]:
        return {each.name: Mirrored(self.backends[each.name], each.label) for each in self.described}

    @cached_property
    def vouching(self) -> Mapping[str, Vouching]:
        asked = self._settings.require_signed_commits
        return {name: VouchedHeads(each) if asked else EveryHead() for name, each in self.backends.items()}

    def placement(self, main: Targets) -> Placement:
        settings = self._settings
        further = [
            Further(
                each,
                Targets(
                    self.backends[each.name],
                    envs=self._envs,
                    secret_labels=settings.secret_labels,
                    served_only=settings.require_signed_commits,
                ),
            )
            for each in self.described
        ]
        return Placement(main, further)

    def schedulers(
        self,
        telling: Telling,
        main_lock: MirrorLock,
        *,
        wake_main: Callable[[], None],
        on_history: OnHistory,
        on_fetched: Callable[[str, str, float], None],
        on_tick: Callable[[], None],
    ) -> list[Scheduler]:
        """One for each, all of them in the worker that holds the configuration repository's lock: who writes
        heads.json is one process. `on_fetched` is given the repository's name, outcome and seconds."""
        return [
            self._scheduler(
                each,
                telling,
                main_lock,
                wake_main=wake_main,
                on_history=on_history,
                on_fetched=on_fetched,
                on_tick=on_tick,
            )
            for each in self.described
        ]

    def _scheduler(
        self,
        each: FurtherRepository,
        telling: Telling,
        main_lock: MirrorLock,
        *,
        wake_main: Callable[[], None],
        on_history: OnHistory,
        on_fetched: Callable[[str, str, float], None],
        on_tick: Callable[[], None],
    ) -> Scheduler:
        settings, timings = self._settings, self._settings.timings
        directory = self.directory(each.name)
        lock = MirrorLock(directory / "mirror.lock", directory=directory / "mirror")
        puller = FurtherPuller(
            each,
            self.backends[each.name],
            telling,
            confirm_after=timings.confirm_rewrite,
            pin_days=settings.pin_days,
            on_history=on_history,
            on_fetched=lambda outcome, seconds: on_fetched(each.name, outcome, seconds),
            vouching=self.vouching[each.name],
            wake=wake_main,
        )
        return Scheduler(
            puller.tick,
            Beside(_Begun(main_lock, telling), lock),
            hinted=telling.hints.last,
            interval=each.poll_seconds or settings.poll_seconds,
            look=timings.follow,
            retry_first=timings.retry_first,
            hint_retries=timings.hint_retries,
            confirm_after=timings.confirm_rewrite,
            lock_retry=timings.lock_retry,
            on_takeover=lock.clean_up_after_former_holder,
            on_tick=on_tick,
        )
