"""A plan as Markdown, for a comment on a pull request."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from config_client.cli.show import text

_SIGNS = {"add": "+", "remove": "-"}


def plan(made: Mapping[str, Any]) -> str:
    """The same that people are told; secrets are masked by the server. No value can become markup."""
    return "".join(f"{line}\n" for line in _lines(made))


def _lines(made: Mapping[str, Any]) -> Iterator[str]:
    yield f"### Configuration plan on {_code(made['label'])} at {_code(made['head'][:12])}"
    yield ""
    if made["breaks"]:
        yield f"**It would break {', '.join(map(_code, made['breaks']))}.**"
    elif not made["targets"]:
        yield "No configuration changes by it."
    else:
        yield f"{len(made['targets'])} configurations change, {made['instances']} instances are connected."
    for target in made["targets"]:
        yield from _target(target)
    if made["files"]:
        yield ""
        yield "Files: " + ", ".join(f"{file['op']} {_code(file['path'])}" for file in made["files"])
    if made["skipped"]:
        yield f"Left alone: {', '.join(map(_code, made['skipped']))}"
    if made.get("hidden"):
        yield f"And {made['hidden']} that this token may not see."


def _target(target: Mapping[str, Any]) -> Iterator[str]:
    name = f"{target['service']}/{target['env']}"
    yield ""
    yield f"#### {_code(name)}: {target['verdict']}, {target['instances']} connected"
    if problem := target.get("problem"):
        yield ""
        yield f"**{_code(' '.join(text(problem[name]) for name in problem if problem[name]))}**"
    if target.get("denied"):
        yield ""
        yield f"Secrets that would be refused: {', '.join(map(_code, target['denied']))}"
    if target["changes"]:
        yield ""
        yield "| | key | from | to |"
        yield "|---|---|---|---|"
    for change in target["changes"]:
        sides = [_code(_value(change, side)) if side in change else "" for side in ("old", "new")]
        yield f"| {_SIGNS.get(change['op'], '~')} | {_code(change['key'])} | {' | '.join(sides)} |"
    if target.get("more_changes"):
        yield f"| | and {target['more_changes']} more | | |"


def _value(change: Mapping[str, Any], side: str) -> str:
    return "null" if change[side] is None else text(change[side])


def _code(words: str) -> str:
    """As it is, whatever is in it."""
    shown = html.escape(" ".join(words.splitlines()) or " ").replace("|", "&#124;").replace("`", "&#96;")
    return f"<code>{shown}</code>"
