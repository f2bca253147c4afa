"""A server that may push, over an origin with two services, and what an admin does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.serving import Serving, serving

ADMIN = "config:write"
FILES: dict[str, str | bytes | None] = {
    "application.yml": "log: info  # for all\n",
    "application-prod.yml": "region: eu\n",
    "pay.yml": "db:\n  pool: 5  # five\n  url: x\n",
    "pay-prod.yml": "db:\n  pool: 9\n",
    "pay-dev.yml": "db:\n  pool: 2\ndebug: true\n",
    "shop.yml": "items: [a]\n",
    "logback.xml": "<level>${log}</level>\n",
}


@dataclass
class Admin:
    """An administrator of a running server. `scope` is what the token grants."""

    serving: Serving
    scope: str = ADMIN
    subject: str = "ada@example.org"

    @property
    def origin(self) -> OriginRepo:
        return self.serving.origin

    @property
    def head(self) -> str:
        """What the server reads now, as `base` of a change."""
        head: str = self.serving.body("pay/prod")["head"]
        return head

    def post(self, what: str, body: dict[str, Any], *, scope: str | None = None) -> httpx.Response:
        token = self.serving.token(scope or self.scope, sub=self.subject)
        return self.serving.ask(f"/v1/admin/{what}", method="POST", token=token, json=body)

    def plan(self, *edits: dict[str, Any], **more: Any) -> dict[str, Any]:
        answer = self.post("plan", {"edits": list(edits), **more} if edits else more)
        assert answer.status_code == 200, answer.text
        plan: dict[str, Any] = answer.json()
        return plan

    def change(self, *edits: dict[str, Any], scope: str | None = None, **more: Any) -> httpx.Response:
        body = {"base": more.pop("base", None) or self.head, "message": "a change", "edits": list(edits), **more}
        return self.post("changes", body, scope=scope)

    def records(self, action: str = "config.") -> list[dict[str, Any]]:
        """The audit trail's records of an action, oldest first."""
        return [record for record in map(json.loads, self.serving.trail()) if record["action"].startswith(action)]


def by_key(file: str, *unset: str, **values: Any) -> dict[str, Any]:
    """An edit by key; `__` in a name stands for a dot."""
    edit: dict[str, Any] = {"file": file}
    if values:
        edit["set"] = {name.replace("__", "."): value for name, value in values.items()}
    return {**edit, "unset": list(unset)} if unset else edit


SETTINGS: dict[str, Any] = {"git_write": True, "envs": ("prod", "dev")}


@pytest.fixture
def admin(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Admin]:
    with serving(tmp_path, issuer, FILES, **SETTINGS) as running:
        yield Admin(running)
