"""Owns reading YAML: libyaml's events become nodes, so nothing recursive or unbounded ever sees the text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import yaml

from app.effective.keys import LiteralKey, shown
from app.effective.limits import Budget, Malformed
from app.effective.tree import Mark, Parsed, TreeBuilder
from app.effective.yaml_scalars import resolve
from app.model import Scalar

_MERGE = LiteralKey("<<")


def read_yaml(text: str) -> Iterator[Parsed]:
    """The documents of a YAML 1.1 stream, empty ones left out.

    libyaml's parser is driven by events: its composer recurses in C and crashes on deep input. Anchors and merge
    keys (yaml.org/type/merge.html) work and are weighed; tags are refused. Raises Malformed.
    """
    budget = Budget()
    document = _Document(budget)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                budget.spend(1, _mark(event)[0])
                document = _Document(budget)
            elif isinstance(event, yaml.DocumentEndEvent):
                if document.root is not None and document.root.value is not None:
                    yield document.root
            else:
                document.take(event)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else None
        raise Malformed(exc.problem or "not valid YAML", line) from None
    except yaml.reader.ReaderError as exc:
        raise Malformed(exc.reason, text.encode()[: exc.position].count(b"\n") + 1) from None
    except yaml.YAMLError:
        raise Malformed("not valid YAML") from None


def _mark(event: yaml.Event) -> Mark:
    start = event.start_mark
    return (start.line + 1, start.column + 1) if start else (1, 1)


class _Document(TreeBuilder):
    """One document: a tree builder that also knows anchors and merge keys."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._anchors: dict[str, Parsed] = {}
        self._open_anchors: list[str | None] = []

    def take(self, event: yaml.Event) -> None:
        mark = _mark(event)
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event, mark)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse(event.tag is not None, "tags are not allowed", mark)
            self._refuse(self.expects_key, "a key must be a scalar", mark)
            self._open_anchors.append(event.anchor)
            self.open({} if isinstance(event, yaml.MappingStartEvent) else [], mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self.close()
            self._remember(self._open_anchors.pop(), node)
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event, mark)

    def _take_scalar(self, event: yaml.ScalarEvent, mark: Mark) -> None:
        self._refuse(event.tag is not None, "tags are not allowed", mark)
        plain = event.implicit[0]
        if self.expects_key and plain and event.value == _MERGE:
            self._refuse(bool(self._frames[-1].merged), "duplicate key <<", mark)
            self._frames[-1].key = _MERGE
            return
        try:
            value = resolve(event.value) if plain else event.value
        except Malformed as exc:
            raise Malformed(self._blame(exc.reason), mark[0]) from None
        if self.expects_key:
            self.key(self._key_of(value, mark), mark)
            self._remember(event.anchor, Parsed(value, mark))
        else:
            self._remember(event.anchor, self.scalar(value, mark))

    def _key_of(self, value: Scalar, mark: Mark) -> str:
        self._refuse(value is None, "a key must not be empty", mark)
        return value if isinstance(value, str) else LiteralKey(json.dumps(value))

    def _take_alias(self, event: yaml.AliasEvent, mark: Mark) -> None:
        self._refuse(self.expects_key, "an alias cannot be a key", mark)
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise Malformed("an alias names no finished anchor", mark[0])
        self._budget.spend(node.weight, mark[0])
        self.attach(node)

    def _remember(self, anchor: str | None, node: Parsed) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def attach(self, node: Parsed) -> None:
        if not self._frames or self._frames[-1].key is not _MERGE:
            super().attach(node)
            return
        maps = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(each.value, dict) for each in maps):
            raise Malformed("<< takes a map or a list of maps", node.mark[0])
        self._frames[-1].key = None
        self._frames[-1].merged = maps or [node]

    def close(self) -> Parsed:
        frame = self._frames[-1]
        if frame.merged:
            frame.node.value = self._merge(frame.node, frame.merged)
        return super().close()

    def _merge(self, node: Parsed, maps: list[Parsed]) -> dict[str, Parsed]:
        """Merged keys come first; a map's own keys win, and earlier maps win over later ones."""
        merged: dict[str, Parsed] = {}
        for each in maps:
            entries = each.value if isinstance(each.value, dict) else {}
            self._budget.spend(each.weight, node.mark[0])
            node.weight += each.weight
            node.height = max(node.height, each.height)
            for key, child in entries.items():
                merged.setdefault(key, child)
        return merged | (node.value if isinstance(node.value, dict) else {})

    def _blame(self, reason: str) -> str:
        key = self._frames[-1].key if self._frames else None
        return f"{shown(key)}: {reason}" if key is not None else reason

    @staticmethod
    def _refuse(wrong: bool, reason: str, mark: Mark) -> None:
        if wrong:
            raise Malformed(reason, mark[0])
