"""From a stream's frames to documents: staged until the `sync`, each one proved by its base and its sum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from config_client import patch
from config_client.canonical import digest
from config_client.document import Document


class Mismatch(Exception):
    """What came does not fit what is held; it has to be fetched as a whole."""


def parsed(text: str | bytes) -> Mapping[str, Any]:
    """A frame. Raises Mismatch for what is none."""
    try:
        frame = json.loads(text)
        if isinstance(frame, dict) and isinstance(frame.get("type"), str):
            return frame
    except (ValueError, RecursionError):
        pass
    raise Mismatch("not a frame")


class Inbox:
    """Of one stream. `told` is what the server believes that this client holds."""

    def __init__(self, told: Document | None) -> None:
        self.told = told
        self.topic = ""
        self._staged: Document | None = None

    def drop(self) -> None:
        self.told = self._staged = None

    def stage(self, frame: Mapping[str, Any]) -> None:
        """A `change`. Raises Mismatch."""
        if self.topic and frame.get("topic") != self.topic:
            return
        try:
            self._staged = _after(self._staged or self.told, frame)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Mismatch(f"not a change of cfg.v1: {type(error).__name__}") from error

    def close(self, rev: str) -> Document | None:
        """At a `sync`: what has come since the one before, if anything; from now on it is what is held."""
        staged, self._staged = self._staged, None
        if staged is not None:
            self.told = replace(staged, rev=rev)
            return self.told
        return None

    def discard(self) -> None:
        self._staged = None


def _after(former: Document | None, frame: Mapping[str, Any]) -> Document:
    op = frame["op"]
    if op == "del":
        return replace(former or _nothing(frame), gone=True, on_disk=False)
    if op == "state":
        if former is None or former.etag != frame["etag"]:
            raise Mismatch("the state of another document")
        return replace(former, **_about(frame))
    config = _content(op, former, frame)
    if not isinstance(config, dict) or digest(config) != frame["sum"]:
        raise Mismatch("the sum is another one")
    return Document(config=config, topic=frame["topic"], rev="", **_about(frame))


def _content(op: str, former: Document | None, frame: Mapping[str, Any]) -> Any:
    if op == "put":
        return frame["doc"]
    if op != "patch" or former is None or former.etag != frame["base"]:
        raise Mismatch("a patch of another document")
    return patch.applied(former.config, frame["patch"])


def _about(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "etag": frame["etag"],
        "version": frame["version"],
        "head": frame["head"],
        "stale": tuple(frame.get("stale", ())),
        "on_disk": False,
        "gone": False,
    }


def _nothing(frame: Mapping[str, Any]) -> Document:
    return Document(frame["topic"], {}, "", "", "", "")
