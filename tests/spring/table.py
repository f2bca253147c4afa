"""The table of cases: input trees beside what Spring's rules make of them, written by hand, section by section.

`cases/SECTION.toml` holds cases that one server answers. Each has its files on a branch of its own, whose name stands
for `{label}` in what it asks for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from devstack.origin import OriginRepo, git

FOLDER = Path(__file__).parent / "cases"
_DATE = "1767225600 +0000"


@dataclass(frozen=True)
class Case:
    """`rule` is what the answer follows from; `expected` what there is to say of it: status, sources, text ..."""

    section: str
    number: int
    name: str
    rule: str
    get: str
    files: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"case{self.number}"

    @property
    def path(self) -> str:
        return self.get.replace("{label}", self.label)

    def __str__(self) -> str:
        return f"{self.section}: {self.name}"


@dataclass(frozen=True)
class Section:
    """A file of the table. `settings` are its server's, and `files` stand on every branch beside a case's own."""

    name: str
    content: Mapping[str, Any]

    def settings(self, directory: Path) -> dict[str, Any]:
        """Of its server; files that they name are written into `directory`. `protected`: every branch has secrets."""
        found: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.content.get("settings", {}).items()
        }
        if self.content.get("protected"):
            found["secret_labels"] = tuple(case.label for case in self.cases)
        for name, file in (("encrypt_key", "key.txt"), ("overrides", "overrides.yml")):
            if name in self.content:
                (directory / file).write_text(self.content[name])
                found[f"{name}_file"] = directory / file
        return found

    @cached_property
    def cases(self) -> list[Case]:
        return [self._case(number, dict(each)) for number, each in enumerate(self.content["case"])]

    def _case(self, number: int, each: dict[str, Any]) -> Case:
        named = {key: each.pop(key) for key in ("name", "rule", "get")}
        files = {**self.content.get("files", {}), **each.pop("files", {})}
        return Case(self.name, number, **named, files=files, headers=each.pop("headers", {}), expected=each)

    def publish(self, origin: OriginRepo) -> None:
        """Every case's files as a branch of the bare repository, by one process."""
        git(origin.bare, "fast-import", "--quiet", stdin=b"".join(self._stream()))

    def _stream(self) -> Iterator[bytes]:
        for case in self.cases:
            yield f"commit refs/heads/{case.label}\ncommitter Ada <ada@example.org> {_DATE}\ndata 0\n".encode()
            for path, text in case.files.items():
                data = text.encode("latin-1" if text.startswith("# latin-1") else "utf-8")
                yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"


SECTIONS = [Section(path.stem, tomllib.loads(path.read_text())) for path in sorted(FOLDER.glob("*.toml"))]
CASES = [case for section in SECTIONS for case in section.cases]
