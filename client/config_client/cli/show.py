"""What is printed: JSON, YAML, or a table that is tab-separated lines where nobody looks at a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from config_client import keys

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
#: What YAML takes for something else than a text.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan"})
_COLOURS = {"add": "green", "remove": "red", "replace": "yellow", "breaks": "red", "broken": "red", "mended": "green"}


def data(value: Any, how: str) -> None:
    """As `json` or `yaml`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n" if how == "json" else yaml(value))


def yaml(value: Any) -> str:
    """Block style; what could be taken for something else is a JSON text, which YAML is too."""
    if not isinstance(value, dict | list) or not value:
        return _scalar(value) + "\n"
    return "".join(f"{line}\n" for line in _block(value))


def _block(value: Any) -> Iterator[str]:
    pairs = value.items() if isinstance(value, dict) else ((None, child) for child in value)
    for name, child in pairs:
        head = "-" if name is None else f"{_scalar(str(name))}:"
        if not isinstance(child, dict | list) or not child:
            yield f"{head} {_scalar(child)}"
            continue
        lines = [f"  {line}" for line in _block(child)]
        if name is None:
            yield f"- {lines[0][2:]}"
            yield from lines[1:]
        else:
            yield head
            yield from lines


def _scalar(value: Any) -> str:
    bare = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if bare else json.dumps(value, ensure_ascii=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """`columns` are shown on a terminal only."""
    cells = [[text(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(re.sub(r"[\t\n\r]", " ", cell) for cell in row) + "\n" for row in cells)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in cells:
        shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(shown)


def leaves(document: Any, key: str = "") -> list[tuple[str, Any]]:
    """(key, value) of a document, or of what stands at `key`."""
    start = keys.parse(key)
    return [(keys.text_of((*start, *path)), value) for path, value in keys.leaves(document)]


def text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def plan(made: Mapping[str, Any]) -> None:
    """For people, on stderr; secrets are masked by the server."""
    say(f"Plan on {made['label']} at {made['head'][:12]}:")
    for file in made["files"]:
        say(f"  {file['op']} {file['path']}", _COLOURS.get(str(file["op"]), "yellow"))
    for skipped in made["skipped"]:
        say(f"  skipped {skipped}", "yellow")
    for target in made["targets"]:
        say(f"  {target['service']}/{target['env']}: {target['verdict']}, {target['instances']} connected")
        for change in target["changes"]:
            say(f"    {_changed(change)}", _COLOURS.get(change["op"], ""))
        if target.get("problem"):
            problem = target["problem"]
            say("    " + " ".join(str(problem[name]) for name in problem if problem[name]), "red")
        if target.get("denied"):
            say(f"    secrets that would be refused: {', '.join(target['denied'])}", "red")
    if not made["targets"]:
        say("  no configuration changes by it")
    if made.get("hidden"):
        say(f"  and {made['hidden']} that you may not see")
    if made["breaks"]:
        say(f"It would break {', '.join(made['breaks'])}.", "red")


def _changed(change: Mapping[str, Any]) -> str:
    sign = {"add": "+", "remove": "-"}.get(change["op"], "~")
    sides = [
        text(change[name]) if change.get(name) is not None else "null" for name in ("old", "new") if name in change
    ]
    return f"{sign} {change['key']}: {' -> '.join(sides)}"


def say(words: str, style: str = "") -> None:
    """To people."""
    if not sys.stderr.isatty():
        sys.stderr.write(words + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(words, style=style))
