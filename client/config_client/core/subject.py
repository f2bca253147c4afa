"""Whose configuration it is, who asks, and the paths and frames that follow from that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Subject:
    """`label` "" is the server's default one. `instance` and `version` are for the operator's list of instances."""

    service: str
    env: str
    label: str = ""
    instance: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """The topic as it is asked for."""
        return f"{self.service}/{self.env}" + (f"/{self.label}" if self.label else "")

    def config_path(self, wait: float = 0) -> str:
        query: dict[str, Any] = {"label": self.label} if self.label else {}
        if wait:
            query["wait"] = f"{wait:g}"
        path = f"/v1/config/{quote(self.service, safe='@+')}/{quote(self.env, safe='@+,')}"
        return path + (f"?{urlencode(query)}" if query else "")

    def events_path(self, etag: str) -> str:
        query = [("topic", self.name), *([("etag", etag)] if etag else []), ("accept", "patch")]
        return f"/v1/events?{urlencode(query)}"

    def subscribe(self, etag: str, since: str) -> str:
        topic = {"name": self.name, **({"etag": etag} if etag else {})}
        client = {name: value for name, value in (("instance", self.instance), ("version", self.version)) if value}
        frame: dict[str, Any] = {"type": "subscribe", "topics": [topic], "accept": ["put", "patch"]}
        if client:
            frame["client"] = client
        if since:
            frame["since"] = since
        return json.dumps(frame)


def auth(token: str) -> str:
    """The frame by which a stream goes on under a new token."""
    return json.dumps({"type": "auth", "token": token})


def ack(rev: str, topic: str, etag: str, reason: str | None) -> dict[str, str]:
    """What became of a change; `reason` why it was rejected."""
    said = {"rev": rev, "topic": topic, "etag": etag, "status": "applied" if reason is None else "rejected"}
    return said if reason is None else {**said, "reason": reason[:600] or "rejected"}
