"""POST /monitor: what Spring's server takes from a Git forge, and the applications that a push may concern."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.blueprints.hooks import checked_body, heard
from app.hooks import Arrivals

#: How many of the dashes in a file's name are looked at, and how many files of a push.
MAX_DASHES, MAX_PATHS = 20, 1000


def add_to(routes: Blueprint, secret: bytes | None, arrivals: Arrivals) -> None:
    def monitor() -> ResponseReturnValue:
        heard(arrivals, checked_body(secret))
        return list(dict.fromkeys(name for path in _paths() for name in concerned(path)))

    routes.post("/monitor")(monitor)


def concerned(path: str) -> Iterator[str]:
    """The applications whose file this may be: every part of its name before a dash, and all of it; `*` is all."""
    name = path.rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    pieces = stem.split("-")[: MAX_DASHES + 1]
    for count in range(1, len(pieces) + 1):
        application = "-".join(pieces[:count])
        if application == "application":
            yield "*"
            return
        if application:
            yield application


def _paths() -> list[str]:
    """The files that a push names: in a list of commits, under `path`, or in a form's `path`."""
    body = request.get_json(silent=True)
    if isinstance(body, dict):
        found = [*_texts(body.get("path")), *_of_commits(body.get("commits"))]
    else:
        found = request.form.getlist("path")
    return found[:MAX_PATHS]


def _of_commits(commits: Any) -> Iterator[str]:
    for commit in commits if isinstance(commits, list) else []:
        for kind in ("added", "modified", "removed"):
            yield from _texts(commit.get(kind) if isinstance(commit, dict) else None)


def _texts(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
