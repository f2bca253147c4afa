"""What the client holds of the server's answers: a configuration of one version, and revs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

#: How many epochs are remembered: those of hosts whose Redis is away, and one that follows.
_EPOCHS = 16


@dataclass(frozen=True, slots=True)
class Document:
    """One configuration. `tag` is the HTTP ETag for asking again, `on_disk` that it came from there and no server
    has confirmed it yet, `gone` that the server has not got it any more."""

    topic: str
    config: Mapping[str, Any]
    etag: str
    version: str
    head: str
    rev: str
    stale: tuple[Mapping[str, Any], ...] = ()
    tag: str = ""
    on_disk: bool = False
    gone: bool = False

    @property
    def label(self) -> str:
        return self.topic.split("/", 2)[-1]


def from_answer(body: Mapping[str, Any], headers: Mapping[str, str]) -> Document:
    """Of `GET /v1/config/...`; `headers` by lower-case names. Raises KeyError, TypeError for what is none."""
    if not isinstance(body["config"], dict):
        raise TypeError("a configuration is a map")
    return Document(
        topic=f"{body['service']}/{body['env']}/{body['label']}",
        config=body["config"],
        etag=str(body["etag"]),
        version=str(body["version"]),
        head=str(body["head"]),
        rev=headers.get("x-config-rev", ""),
        stale=tuple(body.get("stale", ())),
        tag=headers.get("etag", ""),
    )


def confirmed(document: Document, rev: str) -> Document:
    """The server has said that this is what it has."""
    return replace(document, on_disk=False, gone=False, rev=rev or document.rev)


class Revs:
    """The highest rev that was seen in each epoch: what is older is not taken."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self.last = ""

    def is_older(self, rev: str) -> bool:
        epoch, number = _parts(rev)
        return number < self._highest.get(epoch, 0)

    def saw(self, rev: str) -> None:
        epoch, number = _parts(rev)
        if epoch and number >= self._highest.get(epoch, 0):
            self._highest.pop(epoch, None)
            self._highest[epoch] = number
            self.last = rev
            while len(self._highest) > _EPOCHS:
                del self._highest[next(iter(self._highest))]


def _parts(rev: str) -> tuple[str, int]:
    epoch, _, number = rev.rpartition(".")
    return (epoch, int(number)) if number.isdigit() else ("", 0)
