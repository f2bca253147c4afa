"""What stands at the origin of a stress test, and what each of its commits configures: the truth that judges know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devstack.origin import OriginRepo
from tests.stress.history import Pushed

SHARED = "application"
#: So that a patch of one key is smaller than half of the document.
FILLING = {f"key{number}": "a value that stays as it is" for number in range(30)}
_BROKEN = "broken: [\n"


class Content:
    """One file for each service and one for all, on the origin's branch `main`; None is a file that does not parse."""

    def __init__(
        self, origin: OriginRepo, services: Sequence[str], *, fillings: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """`fillings` is what stands in a service's file beside what changes, where it is not what most have."""
        self.origin, self.services = origin, tuple(services)
        self._fillings = fillings or {}
        self.pushed = Pushed()
        self._files: dict[str, dict[str, Any] | None] = {}
        self._snapshots: dict[str, dict[str, dict[str, Any] | None]] = {}
        self._count = 0
        self.write(SHARED, *services)

    @property
    def head(self) -> str:
        return self.pushed.heads[-1]

    @property
    def standing(self) -> Mapping[str, Any]:
        """topic -> its document, None for one that the head is bad for."""
        return self.pushed.documents[self.head]

    def write(self, *names: str) -> str:
        """One commit that gives each of these files a new content."""
        return self._commit({name: self._new(name) for name in names})

    def restore(self, name: str) -> str:
        """The first content of the file again, as a new commit."""
        return self._commit({name: self._snapshots[self.pushed.heads[0]][name]})

    def damage(self, name: str) -> str:
        return self._commit({name: None})

    def comment(self, name: str) -> str:
        """A comment, and the keys in another order: nothing that anybody is told of."""
        self._count += 1
        content = self._files[name] or self._new(name)
        return self._commit({name: content}, text=f"# {self._count}\n{_text(content, reversed(list(content)))}")

    def force(self, commit: str) -> str:
        """Rewrite the branch to stand at a commit that was pushed before."""
        self.origin.force(commit)
        self._files = dict(self._snapshots[commit])
        self.pushed.add(commit)
        return commit

    def _new(self, name: str) -> dict[str, Any]:
        self._count += 1
        if name == SHARED:
            return {"shared": self._count}
        return {**self._fillings.get(name, FILLING), "n": self._count, "list": [self._count, "x"]}

    def _commit(self, changed: Mapping[str, dict[str, Any] | None], *, text: str | None = None) -> str:
        self._files = {**self._files, **changed}
        texts = {f"{name}.yml": text or _text(content, content) for name, content in changed.items()}
        commit = self.origin.write(texts)
        self._snapshots[commit] = dict(self._files)
        self.pushed.add(commit, {topic_of(service): self._document(service) for service in self.services})
        return commit

    def _document(self, service: str) -> dict[str, Any] | None:
        own, shared = self._files[service], self._files[SHARED]
        return None if own is None or shared is None else {**shared, **own}


def topic_of(service: str) -> str:
    return f"{service}/prod/main"


def _text(content: Mapping[str, Any] | None, keys: Iterable[str] | None) -> str:
    if content is None or keys is None:
        return _BROKEN
    return "".join(f"{key}: {json.dumps(content[key])}\n" for key in keys)
