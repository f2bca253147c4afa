"""How an operator describes further configuration repositories: a TOML file, one `[[repository]]` for each."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from app.effective import checked_pattern, checked_search_path
from app.errors import BadInput
from app.model import checked_label
from app.repository.environment import GitCredentials, protocol_of

#: Each has a mirror, a thread in every worker, and two processes of Git's beside it.
MOST = 32
DEFAULT_LABEL = "main"
_FILES = ("password_file", "ssh_key_file", "known_hosts_file", "ca_file")


#: A repository that anybody may read.
_NONE = GitCredentials()


class RepositoriesError(ValueError):
    """The file describes no repositories. `problems` lists every fault, in the file's order."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherRepository:
    """One as written down: which targets it answers for, where it is, and how its files are laid out.

    `poll_seconds` None: as often as the configuration repository is. Credentials are its own, and nobody else's.
    """

    name: str
    url: str
    patterns: tuple[str, ...]
    label: str = DEFAULT_LABEL
    search_paths: tuple[str, ...] = ("",)
    poll_seconds: float | None = None
    credentials: GitCredentials = _NONE


def load_repositories(path: Path) -> tuple[FurtherRepository, ...]:
    """The `[[repository]]` tables of a TOML file, in its order. Raises RepositoriesError with all that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RepositoriesError([f"cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise RepositoriesError([f"is not TOML: {error}"]) from error
    entries = document.get("repository")
    problems = [f"{key}: unknown, only [[repository]] is" for key in document if key != "repository"]
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        raise RepositoriesError([*problems, f"must hold [[repository]] once, and {MOST} times at most"])
    for number, entry in enumerate(entries, 1):
        problems += [f"{_called(number, entry)}: {problem}" for problem in _problems(entry)]
    names = Counter(str(entry.get("name")) for entry in entries if isinstance(entry, dict))
    problems += [f"{name}: {count} tables have this name" for name, count in names.items() if count > 1]
    if problems:
        raise RepositoriesError(problems)
    return tuple(_repository(_ENTRY.load(entry)) for entry in entries)


def _called(number: int, entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"repository {number} ({name})" if isinstance(name, str) and name.isprintable() else f"repository {number}"


def _repository(entry: Mapping[str, Any]) -> FurtherRepository:
    files = {name: Path(entry[name]) for name in _FILES if name in entry}
    return FurtherRepository(
        name=entry["name"],
        url=entry["url"],
        patterns=tuple(entry.get("patterns", [entry["name"]])),
        label=entry.get("label", DEFAULT_LABEL),
        search_paths=tuple(checked_search_path(_rooted(each)) for each in entry.get("search_paths", [""])),
        poll_seconds=entry.get("poll_seconds"),
        credentials=GitCredentials(username=entry.get("username"), **files),
    )


def _problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be written [[repository]]"
        return
    try:
        _ENTRY.load(entry)
    except ValidationError as wrong:
        yield from (f"{name}: {_text(told)}" for name, told in wrong.messages_dict.items())
        return
    if entry.get("username") and not entry.get("password_file"):
        yield "username needs password_file"


def _text(told: object) -> str:
    if isinstance(told, list):
        return " ".join(map(str, told))
    return " ".join(_text(each) for each in told.values()) if isinstance(told, dict) else str(told)


def _rooted(path: str) -> str:
    return "" if path in {".", "/"} else path


def _is_url(text: str) -> None:
    try:
        protocol_of(text)
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from wrong


def _is_pattern(text: str) -> None:
    try:
        checked_pattern(text)
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from wrong


def _is_search_path(text: str) -> None:
    try:
        checked_search_path(_rooted(text))
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from wrong


def _is_label(text: str) -> None:
    try:
        checked_label(text)
    except BadInput as wrong:
        raise ValidationError(wrong.reason) from wrong


def _is_file(text: str) -> None:
    if not Path(text).is_file() or not os.access(text, os.R_OK):
        raise ValidationError("no such file, or it is not readable")


_some = validate.Length(1, 100)


class _Entry(Schema):
    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True,
        validate=validate.Regexp(r"[a-z0-9][a-z0-9-]{0,31}\Z", error="must match [a-z0-9][a-z0-9-]{{0,31}}"),
    )
    url = fields.String(required=True, validate=_is_url)
    patterns = fields.List(fields.String(validate=_is_pattern), validate=_some)
    label = fields.String(validate=_is_label)
    search_paths = fields.List(fields.String(validate=_is_search_path), validate=_some)
    poll_seconds = fields.Float(allow_nan=False, validate=validate.Range(0, 86_400, min_inclusive=False))
    username = fields.String(validate=validate.Length(1, 256))
    password_file = fields.String(validate=_is_file)
    ssh_key_file = fields.String(validate=_is_file)
    known_hosts_file = fields.String(validate=_is_file)
    ca_file = fields.String(validate=_is_file)


_ENTRY = _Entry()
