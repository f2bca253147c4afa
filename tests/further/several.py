"""Origins of further repositories, and the file that names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devstack.origin import OriginRepo


class Several:
    """Further origins in `directory`, in the order in which they were added, and their file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._entries: list[str] = []
        self.origins: dict[str, OriginRepo] = {}
        self.file = directory / "repositories.toml"

    def add(self, name: str, files: Mapping[str, str | bytes | None] | None, **described: Any) -> OriginRepo:
        """`files` None: a repository that is not there."""
        origin = self.origins[name] = OriginRepo(self._directory / name)
        if files is None:
            origin.bare.rename(origin.bare.with_suffix(".away"))
        else:
            origin.write(files, f"the first of {name}")
        values = {"name": name, "url": origin.url, **described}
        self._entries.append("[[repository]]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in values.items()))
        self.file.write_text("\n".join(self._entries))
        return origin
