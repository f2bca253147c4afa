"""What reads are compared with: a WSGI function that returns the very bytes and headers of the server's answers.

For the server's own gunicorn, worker class and configuration. What it returns stands in its data directory.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: In the data directory: by path, what is answered to a plain request and to one with If-None-Match, body in base64.
ANSWERS = "answers.json"

_Answers: TypeAlias = dict[str, tuple[str, list[tuple[str, str]], bytes]]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    status, headers, body = _answers()["HTTP_IF_NONE_MATCH" in environ][environ["PATH_INFO"]]
    start_response(status, headers)
    return [body]


app.extensions = {}  # type: ignore[attr-defined]  # where the configuration of gunicorn looks for our services


@cache
def _answers() -> tuple[_Answers, _Answers]:
    whole, unchanged = json.loads((Path(os.environ["CONFIG_SERVER_DATA_DIR"]) / ANSWERS).read_text())
    return _ready(whole), _ready(unchanged)


def _ready(answers: dict[str, tuple[str, list[list[str]], str]]) -> _Answers:
    return {
        path: (status, [(name, value) for name, value in headers], base64.b64decode(body))
        for path, (status, headers, body) in answers.items()
    }
