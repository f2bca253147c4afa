"""Owns Spring's flat formats: one document of what the property sources come to, as yml, json or properties."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from app.effective.limits import MAX_DEPTH, MAX_INDEX, Budget
from app.effective.properties_format import text_of
from app.effective.spring_flat import leaves
from app.effective.yaml_format import render_yaml
from app.model import Json, KeyPath, Node

_SEGMENT = re.compile(
    r"""\[(?P<index>0|[1-9][0-9]{0,4})\]   # [0]
      | \[(?P<literal>[^\[\]]+)\]          # [x.y]
      | (?P<dot>\.?)(?P<name>[^.\[\]]+)  # x or .x
    """,
    re.VERBOSE,
)


def merged(sources: Sequence[Mapping[str, Node]]) -> dict[str, Node]:
    """The winning value of each flat key, by name; of a list (`a[0]`) the strongest source gives all items."""
    out: dict[str, Node] = {}
    lists: dict[str, dict[str, Node]] = {}
    for source in reversed(sources):
        found: dict[str, dict[str, Node]] = {}
        for key, node in source.items():
            name, bracket, _ = key.partition("[")
            if bracket:
                found.setdefault(name, {})[key] = node
            else:
                out[key] = node
        lists |= found
    for items in lists.values():
        out |= items
    return dict(sorted(out.items()))


def nested(flat: Mapping[str, Json]) -> dict[str, Json]:
    """The tree that flat keys spell.

    A scalar that meets keys below its own keeps both, the longer one as a compound key. Raises Malformed when indexes
    leave more holes than a document may have nodes.
    """
    root: dict[str, Json] = {}
    budget = Budget()
    for key, value in flat.items():
        _put(root, _segments(key), value, budget)
    return root


def _segments(key: str) -> KeyPath:
    if key.count(".") + key.count("[") > MAX_DEPTH:
        return (key,)
    path: list[str | int] = []
    position = 0
    while position < len(key):
        match = _SEGMENT.match(key, position)
        if match is None or (match["name"] is not None and bool(match["dot"]) != bool(path)):
            return (key,)
        if match["index"] is None:
            path.append(match["name"] or match["literal"])
        elif path and int(match["index"]) <= MAX_INDEX:
            path.append(int(match["index"]))
        else:
            return (key,)
        position = match.end()
    return tuple(path) or (key,)


def _put(root: dict[str, Json], path: KeyPath, value: Json, budget: Budget) -> None:
    node: dict[str, Json] | list[Json] = root
    above, since = root, 0  # the nearest map, and how much of the path lies below it
    for depth, segment in enumerate(path):
        if isinstance(node, dict):
            above, since = node, depth
        last = depth == len(path) - 1
        child = _child(node, segment)
        if last and child is None:
            return _set(node, segment, value, budget)
        wanted = list if not last and isinstance(path[depth + 1], int) else dict
        if child is None:
            child = wanted()
            _set(node, segment, child, budget)
        elif last or not isinstance(child, wanted):
            return _set(above, _text(path[since:]), value, budget)
        node = child
    return None


def _child(node: dict[str, Json] | list[Json], segment: str | int) -> Json:
    if isinstance(node, list):
        return node[segment] if isinstance(segment, int) and segment < len(node) else None
    return node.get(str(segment))


def _set(node: dict[str, Json] | list[Json], segment: str | int, value: Json, budget: Budget) -> None:
    if isinstance(node, dict):
        node[str(segment)] = value
    elif isinstance(segment, int):
        missing = max(0, segment + 1 - len(node))
        budget.spend(missing, None)
        node.extend([None] * missing)
        node[segment] = value


def _text(path: Iterable[str | int]) -> str:
    """The rest of a path as one key: `cloud.client[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _document(flat: Mapping[str, Json]) -> Json:
    """The tree; of a file that is a list or a scalar, that alone."""
    tree = nested(flat)
    return tree["document"] if set(tree) == {"document"} else tree


def _properties(flat: Mapping[str, Json]) -> str:
    """`key: value` lines. A line break inside a value would begin another property, so it is escaped."""
    scalars = ((name, text_of(value)) for key, node in flat.items() for name, value, _ in leaves(node, key))
    return "\n".join(f"{name}: {text}".replace("\r", "\\r").replace("\n", "\\n") for name, text in scalars)


#: extension -> how the flat values are written.
SPRING_FORMATS: Mapping[str, Callable[[Mapping[str, Json]], str]] = MappingProxyType(
    {
        "yml": lambda flat: render_yaml(_document(flat)),
        "yaml": lambda flat: render_yaml(_document(flat)),
        "json": lambda flat: json.dumps(_document(flat), ensure_ascii=False, separators=(",", ":")),
        "properties": _properties,
    }
)
