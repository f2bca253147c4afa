"""Asking the server: one request after another, with a word on stderr when one takes longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from config_client.carriage import checked_url, verification
from config_client.version import USER_AGENT


class Refused(Exception):
    """The server's problem (RFC 9457), or that there was no answer (status 0)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        kind = str(problem.get("type", "")).removeprefix("urn:config-server:")
        self.kind = kind
        detail = problem.get("detail") or problem.get("title") or "no reason was given"
        place = ":".join(str(problem[name]) for name in ("file", "line") if problem.get(name))
        keys = ", ".join(problem.get("keys") or [])
        rest = [place, str(problem.get("reason") or ""), keys, f"({problem['field']})" if problem.get("field") else ""]
        super().__init__(" ".join(part for part in (kind and f"{kind}:", str(detail), *rest) if part))


class Api:
    """With a token, which it shows nobody. Raises Refused."""

    def __init__(self, server: str, token: str) -> None:
        import httpx

        self.server = checked_url(server)
        self.token = token
        headers = {"authorization": f"Bearer {token}", "user-agent": USER_AGENT}
        self._http = httpx.Client(
            base_url=self.server, headers=headers, timeout=35, verify=verification(self.server, None)
        )

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, **query: Any) -> Any:
        """JSON, or text where that is what comes. A query that is None is left out."""
        return self._asked("GET", path, params=_given(query), headers=dict(headers or {}))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._asked("POST", path, json=_given(body))

    def config(self, target: str, **query: Any) -> Any:
        return self.get(f"/v1/config/{path_of(target)}", **query)

    def close(self) -> None:
        self._http.close()

    def _asked(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        try:
            with waiting(f"{method} {path}"):
                answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Refused(0, {"detail": f"no answer from {self.server}: {error or type(error).__name__}"}) from error
        is_json = "json" in answer.headers.get("content-type", "")
        if answer.is_success:
            return answer.json() if is_json else answer.text
        raise Refused(answer.status_code, _problem(answer.status_code, answer.json() if is_json else None))


def path_of(target: str) -> str:
    """Of `SERVICE/ENV`. Raises ValueError."""
    service, slash, env = target.partition("/")
    if not slash or not service or not env or "/" in env:
        raise ValueError(f"a target is written SERVICE/ENV, not {target!r}")
    return f"{quote(service, safe='@+')}/{quote(env, safe='@+,')}"


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A spinner from the second second on, where somebody looks at a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(f"waiting: {what}")
    timer = threading.Timer(1, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _problem(status: int, body: Any) -> Mapping[str, Any]:
    return body if isinstance(body, dict) else {"title": f"status {status}"}
