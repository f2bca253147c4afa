"""SpringEnvironments: the installed world, asked and answered in the words of Spring Cloud Config's clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from app.effective import PropertySource, property_sources
from app.engine.engine import ConfigEngine
from app.engine.resolver import Resolution, Resolver
from app.errors import UnknownLabel, UnknownTarget
from app.model import OF, Json, Node, Principal, Reference, Stale, Template, View
from app.notify import Rev


@dataclass(frozen=True, slots=True)
class SpringRequest:
    """One read. The last of several `services`, `envs` or `labels` is the strongest; no label is the default one."""

    principal: Principal
    view: View
    services: tuple[str, ...]
    envs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    request_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the labels come to, weakest first. Holds plaintext when `view` is resolved."""

    view: View
    resolutions: tuple[Resolution, ...]
    rev: Rev
    stale: tuple[Stale, ...]

    @property
    def version(self) -> str:
        """The commit; of several labels each one's, in their order."""
        return ",".join(each.version for each in self.resolutions)

    @property
    def etag(self) -> str:
        return "-".join(each.etag for each in self.resolutions)

    @property
    def topic(self) -> str:
        return ",".join(each.target.topic for each in self.resolutions)

    def sources(self) -> Iterator[PropertySource]:
        """Strongest first. References of a label without secrets are marked, so that no other label fills them in."""
        for resolution in reversed(self.resolutions):
            for source in property_sources(resolution.effective):
                # What no label makes different comes once, where it is strongest.
                if source.in_repository or resolution is self.resolutions[-1]:
                    values = self._shown(resolution, source.values)
                    yield replace(_of_repository(resolution, source), values=values)

    def _shown(self, resolution: Resolution, values: Mapping[str, Node]) -> Mapping[str, Node]:
        if resolution.unresolved:
            return {key: _marked(node) for key, node in values.items()}
        if resolution.secrets.unreadable and self.view is View.RESOLVED:
            return dict(_readable(values, resolution.secrets.unreadable))
        return values

    def secret(self, reference: Reference) -> Json:
        """What stands for a reference: the secret, or the reference as it is written."""
        for resolution in self.resolutions:
            if reference in resolution.secrets.by_reference:
                return resolution.secrets.lookup(reference)
        return reference.text


def _of_repository(resolution: Resolution, source: PropertySource) -> PropertySource:
    """A source of a further repository by its own name: that of the repository goes where its URL does."""
    for repository in resolution.target.repositories if source.in_repository else ():
        for before in ("", "Config resource '"):
            if source.name.startswith(f"{before}{repository}{OF}"):
                name = source.name.replace(f"{repository}{OF}", "", 1)
                return replace(source, name=name, repository=repository)
    return source


def is_decrypted(node: Node, value: Json) -> bool:
    """Whether `value` is what has become of encrypted text."""
    return isinstance(node, Template) and any(each.is_encrypted for each in node.references) and value != node.text


def _readable(values: Mapping[str, Node], unreadable: frozenset[Reference]) -> Iterator[tuple[str, Node]]:
    """As Spring's server says that a value cannot be decrypted."""
    for key, node in values.items():
        if isinstance(node, Template) and not unreadable.isdisjoint(node.references):
            yield f"invalid.{key}", "<n/a>"
        else:
            yield key, node


def _marked(node: Node) -> Node:
    """With references that are nobody's: they stay as they are written."""
    if not isinstance(node, Template):
        return node
    return Template(tuple(part if isinstance(part, str) else replace(part, alias="") for part in node.parts))


class SpringEnvironments:
    """Thread-safe. `resolver` is one whose loader makes sheets; `on_read` is told of every answer."""

    def __init__(
        self,
        engine: ConfigEngine,
        resolver: Resolver,
        *,
        on_read: Callable[[SpringRequest, Resolution], None],
        accept_empty: bool,
        continue_on_missing_label: bool,
    ) -> None:
        self._engine = engine
        self._resolver = resolver
        self._on_read = on_read
        self._accept_empty = accept_empty
        self._continue_on_missing_label = continue_on_missing_label

    def read(self, request: SpringRequest) -> Environment:
        """Raises UnknownLabel, UnknownTarget, BadConfiguration, SecretRefused, RepositoryUnavailable,
        SecretsUnavailable."""
        world = self._engine.world
        found: list[Resolution] = []
        missing: UnknownLabel | None = None
        for label in request.labels or (None,):
            try:
                head, target = self._engine.target(world, ",".join(request.services), request.envs, label)
            except UnknownLabel as unknown:
                if not self._continue_on_missing_label:
                    raise
                missing = unknown
                continue
            protected = self._engine.is_protected(world, head)
            resolution = self._resolver.resolve(world, head, target, protected=protected)
            if not self._accept_empty and not self._resolver.is_own(resolution):
                raise UnknownTarget("nothing configures this service")
            found.append(resolution)
        if missing is not None and not found:
            raise missing
        stale = [each for resolution in found for each in self._stale(resolution)]
        stale += [each for resolution in found for each in world.stale_of(resolution.target.label)]
        return Environment(request.view, tuple(found), world.rev, tuple(dict.fromkeys(stale)))

    def tell(self, request: SpringRequest, environment: Environment) -> None:
        """Have it on record that this was answered."""
        for resolution in environment.resolutions:
            self._on_read(request, resolution)

    def _stale(self, resolution: Resolution) -> tuple[Stale, ...]:
        return (*resolution.stale, *self._resolver.vault_stale(resolution))
