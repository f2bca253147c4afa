"""Owns editing one configuration file by key: comments and order stay, and the outcome is exactly what was asked for.

Each format has an editor that may be as simple as it likes: what it makes is read by our own strict parser, and must
hold what the file held before with the edit applied, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.effective.diff import same
from app.effective.documents import parse
from app.effective.edit_json import edit_json
from app.effective.edit_properties import as_text, edit_properties
from app.effective.edit_toml import edit_toml
from app.effective.edit_tree import EditRefused, drop, put
from app.effective.edit_yaml import edit_yaml
from app.effective.expand import Leaf, MapTree, Tree, expand
from app.effective.keys import LiteralKey
from app.errors import BadConfiguration
from app.model import Json, KeyPath, Source

MAX_EDITED_KEYS = 100
_BOM = "\ufeff"

#: (text, document, set, unset) -> text. `document` counts those with content, from 0.
Editor = Callable[[str, int, Mapping[KeyPath, Json], Sequence[KeyPath]], str]
_EDITORS: Mapping[str, Editor] = {
    "properties": edit_properties,
    "yml": edit_yaml,
    "yaml": edit_yaml,
    "toml": edit_toml,
    "json": edit_json,
}


@dataclass(frozen=True, slots=True)
class KeyEdits:
    """What to set and unset in one document of a file; `document` None means the only one."""

    set: Mapping[KeyPath, Json]
    unset: tuple[KeyPath, ...] = ()
    document: int | None = None

    @property
    def count(self) -> int:
        return len(self.set) + len(self.unset)


def edit(path: str, data: bytes | None, edits: KeyEdits) -> bytes:
    """The file with the edits made; `data` None begins a new one.

    Raises EditRefused when they cannot be made in this file, BadConfiguration when the file is not readable as it is
    or would not be. Pure; any thread.
    """
    extension = path.rpartition(".")[2]
    if extension not in _EDITORS:
        raise EditRefused("only configuration files are edited by key")
    if edits.count > MAX_EDITED_KEYS:
        raise EditRefused(f"more than {MAX_EDITED_KEYS} keys in one edit")
    before = parse(path, data or b"")
    document = _document(before, edits.document)
    text, restore = _opened(data or b"", extension)
    made = restore(_EDITORS[extension](text, document, edits.set, edits.unset))
    wanted = [_plain(expand(source)) for source in before] or [{}]
    _apply(wanted[document], edits, as_text if extension == "properties" else _itself)
    _check(path, made, wanted)
    return made


def _document(before: Sequence[Source], wanted: int | None) -> int:
    if wanted is None and len(before) > 1:
        raise EditRefused(f"the file holds {len(before)} documents; say which one by its number, from 0")
    if (wanted or 0) >= max(len(before), 1):
        raise EditRefused(f"the file has no document {wanted}")
    return wanted or 0


def _opened(data: bytes, extension: str) -> tuple[str, Callable[[str], bytes]]:
    """The text with plain line ends, and what makes bytes of it again as they were: encoding, BOM, line ends."""
    encoding = "utf-8"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if extension != "properties":
            raise
        encoding, text = "iso-8859-1", data.decode("iso-8859-1")
    bom, windows = text.startswith(_BOM), "\r\n" in text
    if "\r" in text.replace("\r\n", "") or (windows and text.count("\r\n") != text.count("\n")):
        raise EditRefused("its line ends are not all alike, and would be made so; edit it as text")

    def restore(edited: str) -> bytes:
        edited = edited.replace("\n", "\r\n") if windows else edited
        return (_BOM * bom + edited).encode(encoding, "backslashreplace")

    return text.removeprefix(_BOM).replace("\r\n", "\n"), restore


def _itself(value: Json) -> Json:
    return value


def _apply(tree: dict[str, Json], edits: KeyEdits, written: Callable[[Json], Json]) -> None:
    for path in edits.unset:
        drop(tree, path)
    for path, value in edits.set.items():
        put(tree, path, _literal(written(value)), LiteralKey)


def _check(path: str, made: bytes, wanted: Sequence[Json]) -> None:
    try:
        found: list[Json] = [_plain(expand(source)) for source in parse(path, made)]
    except BadConfiguration as bad:
        raise EditRefused(f"it would not be readable by key ({bad.reason}); edit it as text") from bad
    if not same([each for each in found if each], [each for each in wanted if each]):
        raise EditRefused("the file is written in a way that cannot be edited by key without changing more; use text")


def _plain(tree: Tree) -> dict[str, Json]:
    """The expanded document; its keys are literal, whatever they look like."""
    plain = _value(tree)
    return plain if isinstance(plain, dict) else {}


def _value(tree: Tree) -> Json:
    if isinstance(tree, Leaf):
        return tree.value
    if isinstance(tree, MapTree):
        return {LiteralKey(key): _value(child) for key, child in tree.entries.items()}
    return [_value(child) for child in tree.items]


def _literal(value: Json) -> Json:
    if isinstance(value, dict):
        return {LiteralKey(key): _literal(child) for key, child in value.items()}
    return [_literal(child) for child in value] if isinstance(value, list) else value


__all__ = ["EditRefused", "KeyEdits", "edit"]
