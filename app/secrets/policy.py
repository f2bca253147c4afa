"""Which secrets a target may be given: references against path templates filled with the target's names. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.model import NAME, Reference, Target

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,14}}")
_DOCUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+@-]{0,300}(?:/[A-Za-z0-9_][A-Za-z0-9_.,+@-]{0,300}){0,14}")
_PIECE = re.compile(r"\*+|\{[^{}]*\}|[A-Za-z0-9_.-]+")
_FIELDS = ("{service}", "{env}")
_ANY_DEPTH = "**"


def is_plain_path(path: str) -> bool:
    """Whether `path` is 1 to 15 segments of the reference grammar: no empty, `.` or `..` segment, no escapes."""
    return _PATH.fullmatch(path) is not None


def is_document_path(path: str) -> bool:
    """The same with the further characters of names and the comma between them: a whole document's, as an operator's
    template makes it."""
    return _DOCUMENT.fullmatch(path) is not None


class PathPolicy:
    """Decides whether a reference may reach a target, so that the server is no confused deputy. Immutable.

    `templates` are paths inside a mount, such as `services/{service}/{env}/**`. `{service}` and `{env}` stand for the
    target's names as literals; with several envs or services any of them will do. `*` is one segment or a part of one,
    `**` one or more whole segments. A name shares its segment neither with another name nor with `*`:
    `{service}-{env}` would give `pay` + `admin-prod` what belongs to `pay-admin` + `prod`, and `{service}*` what
    belongs to `payroll`.
    Raises ValueError for a template that breaks these rules.
    """

    def __init__(self, templates: Sequence[str]) -> None:
        self._templates = tuple(_parse(template) for template in templates)

    def allows(self, reference: Reference, target: Target) -> bool:
        """Whether `reference` may be resolved for `target`. Never raises; whatever is not plainly allowed is not."""
        if not is_plain_path(reference.path) or not all(map(NAME.fullmatch, (*target.services, *target.envs))):
            return False
        path = reference.path.split("/")
        return any(
            _matches(template, path, {"{service}": service, "{env}": env})
            for template in self._templates
            for service in target.services
            for env in target.envs
        )


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a template: its pieces in order, each a literal, a field in braces, `*`, or `**` alone."""

    pieces: tuple[str, ...]

    @property
    def any_depth(self) -> bool:
        return self.pieces == (_ANY_DEPTH,)

    def matches(self, text: str, names: dict[str, str]) -> bool:
        # Filled first and split after, on the pieces: a `*` inside a name could never become a wildcard.
        runs = [""]
        for piece in self.pieces:
            if piece == "*":
                runs.append("")
            else:
                runs[-1] += names.get(piece, piece)
        return _matches_runs(runs, text)


def _matches_runs(runs: Sequence[str], text: str) -> bool:
    """Whether `text` is the runs in order with anything between them. Leftmost finds suffice, so this is linear."""
    if len(runs) == 1:
        return text == runs[0]
    first, *middle, last = runs
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for run in middle:
        found = text.find(run, at, end)
        if found < 0:
            return False
        at = found + len(run)
    return True


def _matches(template: Sequence[_Segment], path: Sequence[str], names: dict[str, str]) -> bool:
    # `reached[i]`: the template so far can account for the first i segments. Nothing is ever tried twice.
    reached = [True] + [False] * len(path)
    for segment in template:
        fits = [segment.any_depth or segment.matches(text, names) for text in path]
        following = [False] * len(reached)
        for index, fit in enumerate(fits):
            open_ended = segment.any_depth and following[index]
            following[index + 1] = fit and (reached[index] or open_ended)
        reached = following
    return reached[-1]


def _parse(template: str) -> tuple[_Segment, ...]:
    return tuple(_parse_segment(segment, template) for segment in template.split("/"))


def _parse_segment(text: str, template: str) -> _Segment:
    pieces = tuple(_PIECE.findall(text))
    fields = [piece for piece in pieces if piece.startswith("{")]
    problems = {
        "an empty segment": not text,
        "a segment of dots": text in (".", ".."),
        "a character that no secret path has": "".join(pieces) != text,
        "a field that is neither {service} nor {env}": any(field not in _FIELDS for field in fields),
        "** beside something else, or ***": text != _ANY_DEPTH and "**" in text,
        "a name that shares its segment with another name or with *": fields and (len(fields) > 1 or "*" in text),
    }
    for problem, found in problems.items():
        if found:
            raise ValueError(f"secret path template {template!r} has {problem}")
    return _Segment(pieces)
