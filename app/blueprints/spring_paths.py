"""What the paths of Spring Cloud Config's clients ask for: names, profiles, label, and a format or a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.errors import BadInput, UnknownFile
from app.model import NAME, checked_envs, checked_label

#: Of names, of labels, and of names for each profile: what a request may ask for is looked for in as many files.
MOST = 16
#: What stands for a slash in a name or label.
SLASH = "(_)"
_FLAT = re.compile(r"(?P<stem>.*)\.(?P<extension>yml|yaml|json|properties)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request. `name`, `profiles` and `label` are as they were asked for, decoded; `label` None is the default one.

    `extension` is that of a flat format, `path` that of a plain file.
    """

    name: str
    profiles: str
    label: str | None = None
    extension: str | None = None
    path: str | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """Raises BadInput, as the others do."""
        return _each("name", self.name, _checked_name)

    @property
    def envs(self) -> tuple[str, ...]:
        envs = checked_envs(",".join(dict.fromkeys(self.profiles.split(","))))
        if len(envs) * len(self.services) > MOST:
            raise BadInput("profiles", f"at most {MOST} of them, fewer the more names there are")
        return envs

    @property
    def labels(self) -> tuple[str, ...]:
        return () if self.label is None else _each("label", self.label, _checked_label)


def wanted(arguments: Mapping[str, str], *, default_label: bool) -> Wanted:
    """From the parts of a path (`document`, `name`, `profiles`, `label`, `path`, as the routes name them).

    `default_label`: what stands where a label may is the beginning of a file's path. Raises UnknownFile.
    """
    if "document" in arguments:
        return _flat(None, arguments["document"])
    name, profiles, label = arguments["name"], arguments["profiles"], arguments.get("label")
    if _FLAT.fullmatch(profiles):
        if label is not None:
            raise UnknownFile("no profile is called like a file")
        return _flat(name, profiles)
    path = arguments.get("path")
    if default_label and label is not None:
        label, path = None, label if path is None else f"{label}/{path}"
    return Wanted(_decoded(name), profiles, None if label is None else _decoded(label), path=path)


def _flat(label: str | None, document: str) -> Wanted:
    match = _FLAT.fullmatch(document)
    name, hyphen, profiles = match["stem"].rpartition("-") if match else ("", "", "")
    if match is None or not (hyphen and name and profiles):
        raise UnknownFile("no such document; one is called NAME-PROFILES.yml, .yaml, .json or .properties")
    return Wanted(_decoded(name), profiles, None if label is None else _decoded(label), match["extension"])


def _decoded(text: str) -> str:
    return text.replace(SLASH, "/")


def _each(field: str, text: str, checked: Callable[[str], str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if len(names) > MOST:
        raise BadInput(field, f"at most {MOST} of them, separated by commas")
    return tuple(checked(name) for name in names)


def _checked_name(text: str) -> str:
    segments = text.split("/")
    if len(segments) > MOST or not all(NAME.fullmatch(segment) for segment in segments):
        raise BadInput("name", "each part must match [A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
    return text


def _checked_label(text: str) -> str:
    if "#" in text:
        raise BadInput("label", "holds a #")
    return checked_label(text)
