"""What a reader asks and what it gets, and how the one is written as the other. No HTTP library in sight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.effective import FORMATS, flatten, key_text, parse_key, subtree
from app.engine.resolver import Resolution
from app.engine.world import World
from app.errors import BadInput
from app.model import Json, Principal, Stale, View
from app.notify import Rev
from app.observability import span
from app.secrets import Held


def _stays() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One read. `label` None means the default label; `at` is Unix seconds: where the label stood then.
    `wait` is in seconds, 0 for an answer at once.

    `etags` are the entity tags of If-None-Match, unquoted; `seen` is the highest rev that the caller knows of; `gone`
    tells whether the caller has left, so that nobody waits on its behalf. `instance` is which one of a service asks.
    """

    principal: Principal
    view: View
    service: str
    envs: tuple[str, ...]
    label: str | None = None
    at: int | None = None
    format: str = "json"
    key: str | None = None
    explain: bool = False
    flat: bool = False
    wait: float = 0.0
    etags: frozenset[str] = frozenset()
    seen: Rev | None = None
    request_id: str = ""
    address: str = ""
    instance: str | None = None
    gone: Callable[[], bool] = _stays


class Reader(NamedTuple):
    """Who is answered: what is told of it."""

    principal: Principal
    view: View
    request_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None when the caller's copy is still right (304). `etag` is the entity tag of this representation."""

    body: bytes | None = field(repr=False)
    media_type: str
    etag: str
    version: str
    rev: Rev
    topic: str
    stale: tuple[Stale, ...]
    config_etag: str
    world: World = field(repr=False)
    resolution: Resolution = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lasting:
    """An answer's bytes are those of everybody with this view who asks the same, as long as this stands."""

    world: World
    resolution: Resolution
    held: Held


def entity_tag(request: ReadRequest, resolution: Resolution) -> str:
    """The configuration's etag, and what else makes these bytes: view, format and query; origins if explained."""
    shape = [request.view, request.format, request.key, request.flat, request.explain and resolution.version]
    return f"{resolution.etag}-{hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:8]}"


def write(request: ReadRequest, resolution: Resolution, stale: tuple[Stale, ...]) -> bytes:
    """The body. Raises UnknownKey, FormatCollision, BadInput when the document does not fit the format asked for."""
    with span("config.render", **{"config.topic": resolution.target.topic, "config.format": request.format}):
        return _written(request, resolution, stale)


def _written(request: ReadRequest, resolution: Resolution, stale: tuple[Stale, ...]) -> bytes:
    document = resolution.document(request.view)
    config: Json = document
    if request.key is not None:
        config = subtree(document, request.key)
    if request.flat and isinstance(config, dict):
        config = dict(flatten(config))
    if request.format != "json":
        if request.explain:
            raise BadInput("explain", "is answered as JSON only")
        return FORMATS[request.format].render(config)
    return FORMATS["json"].render(_envelope(request, resolution, stale, config))


def _envelope(request: ReadRequest, resolution: Resolution, stale: tuple[Stale, ...], config: Json) -> dict[str, Json]:
    target = resolution.target
    body: dict[str, Json] = {
        "service": target.service,
        "env": target.env,
        "label": target.asked_label,
        "version": resolution.version,
        "head": resolution.head,
        "etag": resolution.etag_in(request.view),
    }
    if target.is_candidate:
        body["rollout"] = target.candidate
    if stale:
        body["stale"] = [each.as_json() for each in stale]
    if resolution.unresolved:
        body["unresolved"] = list(resolution.unresolved)
    body["config"] = config
    if request.explain:
        body["explain"] = _explanation(resolution, request.key)
    return body


def _explanation(resolution: Resolution, key: str | None) -> dict[str, Json]:
    """Per key where its value comes from, and which values it hides, strongest first."""
    effective = resolution.effective
    key = key_text(parse_key(key)) if key is not None else None
    return {
        name: {"origin": str(origin), "overridden": [str(each) for each in effective.overridden.get(name, ())]}
        for name, origin in effective.origins.items()
        if key is None or name == key or name.startswith((f"{key}.", f"{key}["))
    }


def media_type(name: str) -> str:
    kind = FORMATS[name].media_type
    return kind if kind == "application/json" else f"{kind}; charset=utf-8"


#: What may be asked for in `format=`.
FORMAT_NAMES: Mapping[str, str] = {name: each.media_type for name, each in FORMATS.items()}
