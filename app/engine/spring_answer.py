"""How an Environment is written: Spring's JSON, its flat formats, and the plain files beside it."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence

from app.effective import (
    SPRING_FORMATS,
    MalformedReference,
    PropertySource,
    SpringPlaceholders,
    merged,
    spring_leaves,
)
from app.effective.limits import Malformed
from app.effective.placeholders import BadPlaceholder
from app.engine.files import FileAnswer, PlainFiles
from app.engine.resolver import Resolution
from app.engine.spring import Environment, is_decrypted
from app.engine.spring_loader import SPRING_EXTENSIONS
from app.errors import BadConfiguration, UnknownFile, Unprocessable
from app.model import Blob, Json, Node, View


def property_sources_json(environment: Environment, uris: Mapping[str, str], *, origins: bool) -> list[Json]:
    """The member `propertySources`; with `origins` (v2) each value beside its `line:column`, decrypted ones alone.

    `uris` are those of the repositories by name, "" being the configuration repository.
    """
    return [
        {
            "name": f"{uris[source.repository]}/{source.name}" if source.in_repository else source.name,
            "source": dict(_values(environment, source, origins=origins)),
        }
        for source in environment.sources()
    ]


def _values(environment: Environment, source: PropertySource, *, origins: bool) -> Iterator[tuple[str, Json]]:
    placeholders = _placeholders(environment, source.values)
    for key in source.values:
        for name, value, _ in spring_leaves(placeholders.plain(key), key):
            plain = not origins or key not in source.origins or is_decrypted(source.values[key], value)
            yield name, value if plain else {"value": value, "origin": source.origins[key]}


def flat_document(environment: Environment, extension: str, *, resolve: bool) -> str:
    """What the sources come to, in one of SPRING_FORMATS; `resolve`: with placeholders filled. Raises Unprocessable."""
    leaves = merged([source.values for source in environment.sources()])
    placeholders = _placeholders(environment, leaves)
    value = placeholders.plain
    if resolve:
        value = placeholders.retyped if extension in {"yml", "yaml"} else placeholders.filled
    try:
        return SPRING_FORMATS[extension]({key: value(key) for key in leaves})
    except (BadPlaceholder, Malformed) as exc:
        raise Unprocessable(str(exc)) from exc


class SpringFiles:
    """Plain files as Spring's clients ask for them. Thread-safe."""

    def __init__(self, files: PlainFiles, is_configuration: Callable[[str], bool]) -> None:
        self._files = files
        self._is_laid_out = is_configuration

    def read(self, environment: Environment, envs: Sequence[str], path: str, *, raw: bool, resolve: bool) -> FileAnswer:
        """`file-ENV.ext` of the first env that has one, else `file.ext`, from the strongest search location with any.

        `raw`: its bytes as they are; else its text, with `resolve` filled from the environment. Raises UnknownFile,
        BadConfiguration, Unprocessable.
        """
        resolution, found, blob = self._find(environment, envs, path)
        data = self._files.content(found, blob, raw=raw)
        body = self._filled(environment, found, data) if resolve and not raw else data
        kind = "application/octet-stream" if raw else f"{mimetypes.guess_type(found)[0] or 'text/plain'}; charset=utf-8"
        filled = f"{environment.view} {environment.etag}" if resolve and not raw else ""
        etag = self._files.tag(f"spring {blob.id} {found} {raw} {filled}")
        return FileAnswer(body, kind, etag, resolution.version, environment.topic, environment.rev, environment.stale)

    def _find(self, environment: Environment, envs: Sequence[str], path: str) -> tuple[Resolution, str, Blob]:
        folder, slash, name = path.rpartition("/")
        stem, dot, extension = name.rpartition(".") if "." in name else (name, "", "")
        names = [f"{folder}{slash}{stem}-{env}{dot}{extension}" for env in envs]
        for resolution in reversed(environment.resolutions):
            try:
                return resolution, *self._files.find(resolution, [*names, path], self._is_configuration)
            except UnknownFile:
                continue
        raise UnknownFile("no such file")

    def _is_configuration(self, path: str) -> bool:
        """JSON and TOML too where /v1 would read them; elsewhere they are files like any other."""
        return path.endswith(tuple(f".{name}" for name in SPRING_EXTENSIONS)) or self._is_laid_out(path)

    def _filled(self, environment: Environment, path: str, data: bytes) -> bytes:
        leaves = merged([source.values for source in environment.sources()])
        try:
            return _placeholders(environment, leaves).text(data.decode()).encode()
        except UnicodeDecodeError as exc:
            raise BadConfiguration(path, None, "not UTF-8 text; ask for application/octet-stream") from exc
        except (BadPlaceholder, MalformedReference) as exc:
            raise BadConfiguration(path, None, str(exc)) from exc


def _placeholders(environment: Environment, leaves: Mapping[str, Node]) -> SpringPlaceholders:
    return SpringPlaceholders(leaves, environment.secret, masked=environment.view is View.MASKED)
