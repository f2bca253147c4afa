"""The last good document on disk: private, whole or not there, and told apart from a damaged one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from config_client import keys
from config_client.canonical import digest
from config_client.document import Document

log = logging.getLogger("config_client")

_VERSION = 1
_MARK = b"cfg1 "


class Cipher(Protocol):
    """What makes a file unreadable for others. `context` is bound to it, so that one file does not pass for another."""

    def seal(self, plain: bytes, context: bytes) -> bytes: ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises ValueError for what was not sealed with this key and context."""


class DiskCache:
    """One file for one target of one server, in `directory` (made 0700; the file is 0600).

    `without` are patterns of keys that are not written (`*.password`): such a document serves at a start without a
    server, and is fetched anew by the first answer.
    """

    def __init__(
        self, directory: Path, server: str, topic: str, *, without: Sequence[str] = (), cipher: Cipher | None = None
    ) -> None:
        place = hashlib.sha256(f"{server}\n{topic}".encode()).hexdigest()[:12]
        self.path = directory / f"{re.sub(r'[^A-Za-z0-9_.+@,-]', '_', topic)[:100]}-{place}.json"
        self._context = f"{server}\n{topic}".encode()
        self._without = tuple(without)
        self._cipher = cipher

    def save(self, document: Document) -> None:
        """Atomic. A disk that refuses is logged: the program goes on."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(self._packed(document))
        except OSError as error:
            log.warning("the configuration cannot be kept on disk: %s", error.strerror)

    def load(self) -> Document | None:
        """None, and a line in the log, for a file that is damaged or that others may write."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_mode & 0o022 or about.st_uid not in (os.geteuid(), 0):
                    raise ValueError("others may write it")
                return self._unpacked(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the configuration on disk is of no use and left alone: %s (%s)", self.path, error)
            return None

    def _replace(self, data: bytes) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    def _packed(self, document: Document) -> bytes:
        config, left_out = _left(document.config, self._without)
        body: dict[str, Any] = {
            "v": _VERSION,
            "topic": document.topic,
            "config": config,
            "etag": "" if left_out else document.etag,
            "tag": "" if left_out else document.tag,
            "version": document.version,
            "head": document.head,
            "rev": document.rev,
            "left_out": left_out,
        }
        data = json.dumps({**body, "sum": digest(body)}, ensure_ascii=False, separators=(",", ":")).encode()
        return _MARK + self._cipher.seal(data, self._context) if self._cipher else data

    def _unpacked(self, data: bytes) -> Document:
        if self._cipher is not None:
            if not data.startswith(_MARK):
                raise ValueError("it is not encrypted")
            data = self._cipher.open(data[len(_MARK) :], self._context)
        body = json.loads(data)
        if body["v"] != _VERSION or digest({name: body[name] for name in body if name != "sum"}) != body["sum"]:
            raise ValueError("its sum is another one")
        names = ("topic", "config", "etag", "version", "head", "rev", "tag")
        return Document(**{name: body[name] for name in names}, on_disk=True)


def _left(config: Mapping[str, Any], without: Sequence[str]) -> tuple[Any, list[str]]:
    """The document without what the patterns name, and the key paths of that."""
    paths = [(path, keys.text_of(path)) for path, _ in keys.leaves(config)] if without else []
    gone = [(path, key) for path, key in paths if any(keys.matches(pattern, key) for pattern in without)]
    return _pruned(config, {path for path, _ in gone}, ()), [key for _, key in gone]


def _pruned(node: Any, gone: set[keys.Path], path: keys.Path) -> Any:
    """A list keeps its length: what is left out of it is null."""
    if isinstance(node, dict):
        return {name: _pruned(child, gone, (*path, name)) for name, child in node.items() if (*path, name) not in gone}
    if isinstance(node, list):
        return [None if (*path, n) in gone else _pruned(child, gone, (*path, n)) for n, child in enumerate(node)]
    return node
