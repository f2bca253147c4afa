"""Owns editing YAML by key, in the text itself: what an edit does not concern stays as it is, byte by byte.

A round trip through a parser and an emitter would rewrite indentation, quotes and long lines of the whole file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from app.effective.edit_tree import EditRefused, as_key, nested, new_key
from app.effective.keys import LiteralKey, key_text, shown
from app.effective.limits import Malformed
from app.effective.yaml_places import Entry, Place, documents
from app.effective.yaml_scalars import resolve
from app.model import Json, KeyPath, Scalar

_SAFE = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.+@ -]*(?<! )")
#: What JSON leaves as it is and YAML does not take in double quotes.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_COMMENT = re.compile(r"\s#")
_STEP = "  "


def edit_yaml(text: str, document: int, changes: Mapping[KeyPath, Json], unset: Sequence[KeyPath]) -> str:
    """Raises EditRefused."""
    for path in unset:
        text = _unset(text, document, path)
    for path, value in changes.items():
        text = _set(text, document, path, value)
    return text


def _set(text: str, document: int, path: KeyPath, value: Json) -> str:
    root = _root(text, document)
    if root is None:
        return _with_lines(text, len(text), _block_map({as_key(str(path[0])): nested(path[1:], value, as_key)}, ""))
    below = next((trail for trail in _trails(root, path) if len(_path(trail)) > len(path)), None)
    if below is not None:  # spelled in pieces (`db.pool: 5`), which what is set replaces
        return _set(_removed(text, root, below), document, path, value)
    return _put(text, root, root, path, value)


def _put(text: str, root: Place, node: Place, path: KeyPath, value: Json) -> str:
    """Set `path` below `node`."""
    if node.fixed:
        raise _shared(path)
    if node is root and not node.entries:
        return _spliced(text, node.start, node.end, "\n".join(_block_map(nested(path, value, as_key), "")))
    if node.kind == "list":
        return _put_item(text, root, node, path, value)
    ways = sorted(
        (entry for entry in node.entries if entry.path == path[: len(entry.path)]), key=lambda e: -len(e.path)
    )
    for entry in ways:
        if entry.path == path:
            return _replaced(text, entry, value)
        if entry.place.kind in ("map", "list"):
            return _put(text, root, entry.place, path[len(entry.path) :], value)
    if any(entry.place.fixed for entry in ways):
        raise _shared(path)
    if ways:
        raise EditRefused(f"{shown(key_text(path))}: what stands above it is a single value")
    key, rest = new_key([entry.raw for entry in node.entries], path, as_key)
    if node.flow:
        return _put_in_flow(text, node, f"{_key(key)}: {_flow(nested(rest, value, as_key))}")
    indent = _indent_of(text, node.entries[0].start)
    return _with_lines(text, node.end, _block_map({key: nested(rest, value, as_key)}, indent))


def _put_item(text: str, root: Place, node: Place, path: KeyPath, value: Json) -> str:
    index, rest = path[0], path[1:]
    if isinstance(index, str):
        raise EditRefused(f"{shown(key_text(path))}: a list is given by index without holes, a map by names")
    if index < len(node.items):
        item = node.items[index]
        if rest and item.kind in ("map", "list"):
            return _put(text, root, item, rest, value)
        if not rest and not item.fixed and (item.kind == "scalar" or item.flow):
            return _spliced(text, item.start, item.end, _flow(value))
    elif index == len(node.items) and node.flow:
        return _put_in_flow(text, node, _flow(nested(rest, value, as_key)))
    elif index == len(node.items):
        dash = _dash(text, node.items[0])
        return _with_lines(text, node.end, [f"{dash}{_flow(nested(rest, value, as_key))}"])
    raise EditRefused(f"{shown(key_text(path))} cannot be set in this list; set the whole list")


def _put_in_flow(text: str, node: Place, new: str) -> str:
    """One more at the end of a flow collection."""
    spans = _spans(node)
    if not spans:
        _check_comment(text[node.start : node.end])
        return _spliced(text, node.start + 1, node.end - 1, new)
    return _spliced(text, spans[-1][1], spans[-1][1], f", {new}")


def _cut_from_flow(text: str, node: Place, number: int) -> str:
    """Without one of a flow collection's parts, and without the comma that set it off."""
    spans = _spans(node)
    start, end = spans[number]
    if number + 1 < len(spans):
        end = spans[number + 1][0]
    elif number:
        start = spans[number - 1][1]
    _check_comment(text[start:end])
    return _spliced(text, start, end, "")


def _spans(node: Place) -> list[tuple[int, int]]:
    entries = [(entry.start, max(entry.end, entry.place.end)) for entry in node.entries]
    return entries or [(item.start, item.end) for item in node.items]


def _check_comment(text: str) -> None:
    if _COMMENT.search(text):
        raise EditRefused("a comment may be lost there; edit it as text")


def _replaced(text: str, entry: Entry, value: Json) -> str:
    old = entry.place
    if old.kind == "alias":
        return _spliced(text, old.start, old.end, _flow(value))
    if old.fixed:
        raise _shared(entry.path)
    if old.kind == "scalar" or old.flow:
        gap = " " if text[old.start - 1 : old.start] == ":" else ""
        return _spliced(text, old.start, old.end, gap + _flow(value))
    if any(place.fixed for place in _all(old)):
        raise _shared(entry.path)
    colon = text.index(":", entry.end) + 1
    indent = _indent_of(text, entry.start)
    body = _block(value, indent)
    return _spliced(text, colon, old.end, body)


def _unset(text: str, document: int, path: KeyPath) -> str:
    root = _root(text, document)
    found = next(_trails(root, path), None) if root is not None else None
    if root is None or found is None:
        raise EditRefused(f"{shown(key_text(path))} is not in this file")
    text = _removed(text, root, found)
    root = _root(text, document)
    if isinstance(found[-1][1], int):
        return text  # the next item has moved up to its place
    return _unset(text, document, path) if root is not None and next(_trails(root, path), None) else text


#: The way from the root to a node: each map or list, and the key or index that leads on.
_Trail = tuple[tuple[Place, "Entry | int"], ...]


def _trails(node: Place, path: KeyPath, before: _Trail = ()) -> Iterator[_Trail]:
    """The ways to all that stands at or below `path`."""
    for entry in node.entries:
        length = len(entry.path)
        if entry.path[: len(path)] == path:
            yield (*before, (node, entry))
        elif entry.path == path[:length]:
            yield from _trails(entry.place, path[length:], (*before, (node, entry)))
    if node.kind == "list" and isinstance(path[0], int) and path[0] < len(node.items):
        trail = (*before, (node, path[0]))
        if len(path) == 1:
            yield trail
        else:
            yield from _trails(node.items[path[0]], path[1:], trail)


def _path(trail: _Trail) -> KeyPath:
    steps = [step.path if isinstance(step, Entry) else (step,) for _, step in trail]
    return tuple(segment for step in steps for segment in step)


def _removed(text: str, root: Place, trail: _Trail) -> str:
    """Without the last node of the trail, and without the maps and lists that it leaves empty."""
    while len(trail) > 1 and len(trail[-1][0].entries) + len(trail[-1][0].items) == 1:
        if not isinstance(trail[-2][1], Entry):
            raise EditRefused("the last key of a list's item is not taken out; set the whole list")
        trail = trail[:-1]
    node, step = trail[-1]
    place = step.place if isinstance(step, Entry) else node.items[step]
    if any(each.fixed and each.kind != "alias" for each in _all(place)):
        raise EditRefused(f"{shown(key_text(_path(trail)))} holds an anchor that others use; edit it as text")
    if node.flow:
        return _cut_from_flow(text, node, step if isinstance(step, int) else _number(node, step))
    start = step.start if isinstance(step, Entry) else place.start
    line = text.rfind("\n", 0, start) + 1
    allowed = r"[ \t]*" if isinstance(step, Entry) else r"[ \t]*-[ \t]*"
    if not re.fullmatch(allowed, text[line:start]):
        raise EditRefused(f"{shown(key_text(_path(trail)))} shares its line with something else; edit it as text")
    end = text.find("\n", max(place.end, start))
    alone = len(trail) == 1 and len(root.entries) == 1
    return text[:line] + ("{}\n" if alone else "") + (text[end + 1 :] if end >= 0 else "")


def _number(node: Place, entry: Entry) -> int:
    return next(number for number, each in enumerate(node.entries) if each is entry)


def _all(place: Place) -> Iterator[Place]:
    yield place
    for child in [*(entry.place for entry in place.entries), *place.items]:
        yield from _all(child)


def _root(text: str, document: int) -> Place | None:
    roots = list(documents(text))
    if not roots:
        return None
    root = roots[document]
    if root.kind != "map":
        raise EditRefused("not a map at its top level")
    return None if not root.entries and len(roots) == 1 and not text.strip() else root


def _shared(path: KeyPath) -> EditRefused:
    return EditRefused(f"{shown(key_text(path))} is part of something with an anchor or alias; edit it as text")


def _spliced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _with_lines(text: str, after: int, lines: list[str]) -> str:
    """New lines below the one on which the offset `after` lies."""
    end = text.find("\n", after)
    if end < 0:
        end, text = len(text), text if not text or text.endswith("\n") else f"{text}\n"
        end = len(text) - 1
    return text[: end + 1] + "".join(f"{line}\n" for line in lines) + text[end + 1 :]


def _indent_of(text: str, offset: int) -> str:
    """Blanks up to the column of a key, which may stand behind the dash of a list's item."""
    return " " * (offset - text.rfind("\n", 0, offset) - 1)


def _dash(text: str, item: Place) -> str:
    """What stands before an item on its line: blanks, a dash, blanks."""
    start = text.rfind("\n", 0, item.start) + 1
    before = text[start : item.start]
    if not re.fullmatch(r"[ \t]*-[ \t]+", before):
        raise EditRefused("this list cannot be added to; set the whole list")
    return before


def _block(value: Json, indent: str) -> str:
    """What follows a key's colon."""
    if isinstance(value, dict) and value:
        return "".join(f"\n{line}" for line in _block_map(value, indent + _STEP))
    if isinstance(value, list) and value:
        return "".join(f"\n{indent}{_STEP}- {_flow(item)}" for item in value)
    return f" {_flow(value)}"


def _block_map(values: Json, indent: str) -> list[str]:
    entries = values.items() if isinstance(values, dict) else ()
    return [line for key, value in entries for line in f"{indent}{_key(key)}:{_block(value, indent)}".split("\n")]


def _flow(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Scalar) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _is_safe(value) else _quoted(value)


def _key(key: str) -> str:
    if isinstance(key, LiteralKey):
        return str(key)
    return key if _is_safe(key) else _quoted(key)


def _is_safe(text: str) -> bool:
    """Whether it may stand without quotes, and is then read as this very text."""
    try:
        return bool(_SAFE.fullmatch(text)) and resolve(text) == text
    except Malformed:
        return False


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped)
