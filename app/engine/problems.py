"""What is wrong now: targets that are held back or cannot be served at all, and schemas that are not applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.aside import in_slices
from app.engine.engine import ConfigEngine, Current
from app.engine.loader import Loader, ReadsTrees
from app.engine.resolver import Resolver
from app.engine.schemas import SchemaProblem
from app.engine.world import Head, World
from app.errors import (
    BadConfiguration,
    ConfigServerError,
    NotFound,
    SchemaViolation,
    SecretRefused,
    SecretsUnavailable,
    Unprocessable,
    code_of,
)
from app.model import Json, Stale, Target, shown_commit


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind`: held_back (an older good version is served), stale (secrets come from memory), failing (nothing can be
    served), bad (the head is, and nobody asks for the target), schema (one that is not applied), rollout (one that is
    not done as it is written), unsigned (a `label` whose head is withheld), repository (a further one, `detail` being
    its name) or server (it touches everything). `reason` is that of Stale, or the error's name. Nothing is secret.
    """

    kind: str
    reason: str
    since: str | None = None
    target: Target | None = None
    commit: str | None = None
    version: str | None = None
    detail: str | None = None
    file: str | None = None
    line: int | None = None
    schema: str | None = None
    keys: tuple[str, ...] = ()
    label: str | None = None

    def as_json(self) -> dict[str, Json]:
        names = ("kind", "reason", "since", "label", "commit", "version", "detail", "file", "line", "schema")
        told: dict[str, Json] = {name: each for name in names if (each := getattr(self, name)) is not None}
        if self.commit is not None:
            told["commit"] = shown_commit(self.commit)
        if self.target is not None:
            told |= {"service": self.target.service, "env": self.target.env, "label": shown_label(self.target)}
        return {**told, "keys": list(self.keys)} if self.keys else told


def bad_head(head: Head, target: Target, failure: ConfigServerError) -> Problem:
    """The head is bad for a target that nobody asks for; who does may be served an older version."""
    return _explained(Problem("bad", code_of(failure), head.at or None, target, head.commit), failure)


class Problems:
    """Thread-safe. Looks at each target anew; what is known of it already costs next to nothing."""

    def __init__(self, engine: ConfigEngine, resolver: Resolver, loader: Loader, trees: ReadsTrees) -> None:
        self._engine = engine
        self._resolver = resolver
        self._loader = loader
        self._trees = trees

    def among(self, world: World, targets: Iterable[Target]) -> list[Problem]:
        """Those of the server first, then target by target. A target that does not exist any more has none."""
        found = [Problem("server", each.reason.value, each.since) for each in world.stale]
        schemas: dict[tuple[str, SchemaProblem], Problem] = {}
        for target in in_slices(sorted(targets, key=lambda each: each.topic)):
            try:
                head, located = self._engine.target(world, target.service, target.envs, target.label)
            except ConfigServerError:
                continue
            found += self._of(world, head, located)
            for broken in self._loader.unapplied(located, self._trees.at(head.commit)):
                problem = Problem("schema", "broken", head.at or None, None, head.commit)
                schemas.setdefault((head.commit, broken), _at(problem, broken.path, broken.line, broken.reason))
        return [*found, *schemas.values()]

    def of_repositories(self, world: World) -> list[Problem]:
        """Further repositories whose answers are stale, or that lack the label that they have by default: it touches
        every target that is read from them."""
        found = []
        for name, its_own in world.further.items():
            found += [Problem("repository", each.reason.value, each.since, detail=name) for each in its_own.stale]
            if its_own.heads and its_own.default_label not in its_own.heads:
                found.append(Problem("repository", "missing", detail=f"{name}: there is no {its_own.default_label}"))
        return found

    def _of(self, world: World, head: Head, target: Target) -> list[Problem]:
        answer = self._answer(world, head, target)
        if isinstance(answer, NotFound):
            return []
        if isinstance(answer, ConfigServerError):
            return [_explained(Problem("failing", code_of(answer), head.at or None, target, head.commit), answer)]
        held = [stale for stale in answer.stale if stale not in world.stale_of(target.label)]
        return [self._held_back(world, head, answer, stale) for stale in held]

    def _held_back(self, world: World, head: Head, current: Current, stale: Stale) -> Problem:
        resolution = current.resolution
        target = resolution.target
        version = resolution.version
        kind = "held_back" if stale.commit is not None else "stale"
        problem = Problem(kind, stale.reason.value, stale.since, target, stale.commit, version, stale.detail)
        try:
            protected = self._engine.is_protected(world, head)
            self._resolver.effective_at(target, self._trees.at(head.commit), protected=protected)
        except (BadConfiguration, SecretRefused) as failure:
            return _explained(problem, failure)
        return problem

    def _answer(self, world: World, head: Head, target: Target) -> Current | ConfigServerError:
        try:
            return self._engine.current(world, target, head)
        except (Unprocessable, SecretsUnavailable, NotFound) as failure:
            return failure


def shown_label(target: Target) -> str:
    """The label that it was asked for; beside it the branch that chosen instances get."""
    return target.asked_label if target.is_further else target.label


def _explained(problem: Problem, failure: ConfigServerError) -> Problem:
    if isinstance(failure, SecretRefused):
        return replace(problem, keys=failure.keys, detail=failure.reason)
    if isinstance(failure, SchemaViolation):
        problem = replace(problem, schema=failure.schema, keys=(failure.key,) if failure.key else ())
    if isinstance(failure, BadConfiguration):
        return _at(problem, failure.path, failure.line, failure.reason)
    return replace(problem, detail=str(failure))


def _at(problem: Problem, file: str, line: int | None, reason: str) -> Problem:
    return replace(problem, file=file, line=line, detail=reason)
