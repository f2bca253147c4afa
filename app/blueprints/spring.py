"""The interface of Spring Cloud Config: environments, flat documents and plain files for its clients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, request

from app.blueprints.config import etags
from app.blueprints.http import stale_header
from app.blueprints.spring_paths import Wanted
from app.engine import (
    Environment,
    SpringEnvironments,
    SpringFiles,
    SpringRequest,
    flat_document,
    property_sources_json,
)

V2 = "application/vnd.spring-cloud.config-server.v2+json"
_JSON = "application/json"
#: Where Spring's clients have a setting for a token, meant for Vault.
TOKEN_HEADER = "X-Config-Token"  # noqa: S105 - a header's name
#: endpoint -> path below the prefix.
READS: Mapping[str, str] = {
    "environment": "/<name>/<profiles>",
    "labelled": "/<name>/<profiles>/<label>",
    "flat": "/<document>",
    "file": "/<name>/<profiles>/<label>/<path:path>",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this server speaks it: `prefix` before every path, `uris` before the names of the sources of each repository,
    and the headers that a token may stand in beside Authorization."""

    prefix: str
    uris: Mapping[str, str]
    token_headers: tuple[str, ...]


def dialect_of(prefix: str, urls: Mapping[str, str], token_headers: Sequence[str]) -> Dialect:
    """`urls` are those of the repositories by name, "" being the configuration repository."""
    uris = {name: shown_url(url) for name, url in urls.items()}
    return Dialect(prefix, uris, (*token_headers, TOKEN_HEADER))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A representation: its entity tag, and how its body is written."""

    media_type: str
    etag: str
    body: Callable[[], str | bytes]


def blueprint(environments: SpringEnvironments, files: SpringFiles, dialect: Dialect) -> Blueprint:
    routes = Blueprint("spring", __name__, url_prefix=dialect.prefix or None)
    vary = ", ".join(("Authorization", "Accept", *dialect.token_headers))

    def read(**_parts: str) -> Response:
        asked: Wanted = g.wanted
        wants = spring_request(asked)
        found = environments.read(wants)
        g.topic = found.topic
        if asked.path is not None:
            shown = _file(files, found, asked)
        elif asked.extension is not None:
            shown = _flat(found, asked.extension)
        else:
            shown = _environment(found, asked, dialect.uris)
        unchanged = not etags().isdisjoint({shown.etag, "*"})
        response = Response(
            None if unchanged else shown.body(), 304 if unchanged else 200, content_type=shown.media_type
        )
        if not unchanged:
            environments.tell(wants, found)
        response.set_etag(shown.etag)
        response.headers["Vary"] = vary
        response.headers["X-Config-Version"] = found.version
        response.headers["X-Config-Rev"] = str(found.rev)
        if found.stale:
            response.headers["X-Config-Stale"] = stale_header(found.stale)
        return response

    for endpoint, rule in READS.items():
        routes.add_url_rule(rule, endpoint, read)
    return routes


def spring_request(asked: Wanted) -> SpringRequest:
    return SpringRequest(
        g.principal, g.view, asked.services, asked.envs, asked.labels, g.request_id, request.remote_addr or ""
    )


def shown_url(repo_url: str) -> str:
    """The repository's URL as sources are called after it: without who logs in, and of a folder here its name alone."""
    parts = urlsplit(repo_url)
    if parts.scheme == "file" or ":" not in repo_url.partition("/")[0]:
        return repo_url.rstrip("/").rpartition("/")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _environment(found: Environment, asked: Wanted, uris: Mapping[str, str]) -> _Shown:
    kind = request.accept_mimetypes.best_match((_JSON, V2), _JSON)

    def body() -> str:
        told = {
            "name": asked.name,
            "profiles": [asked.profiles],
            "label": asked.label,
            "version": found.version,
            "state": "",
            "propertySources": property_sources_json(found, uris, origins=kind == V2),
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    return _Shown(kind, _tag(found, [kind, asked.name, asked.profiles, asked.label, found.version]), body)


def _flat(found: Environment, extension: str) -> _Shown:
    resolve = _resolves()
    kind = _JSON if extension == "json" else "text/plain; charset=utf-8"
    return _Shown(kind, _tag(found, [extension, resolve]), lambda: flat_document(found, extension, resolve=resolve))


def _file(files: SpringFiles, found: Environment, asked: Wanted) -> _Shown:
    raw = request.accept_mimetypes.best == "application/octet-stream"
    answer = files.read(found, asked.envs, asked.path or "", raw=raw, resolve=_resolves())
    return _Shown(answer.media_type, answer.etag, lambda: answer.body)


def _tag(found: Environment, shape: Sequence[object]) -> str:
    """The configuration's etag, which is keyed, and what else makes these bytes."""
    return hashlib.sha256(json.dumps([found.etag, found.view, *shape]).encode()).hexdigest()[:40]


def _resolves() -> bool:
    return request.args.get("resolvePlaceholders", "true").lower() not in {"false", "off", "no", "0"}
