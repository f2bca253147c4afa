"""A server over a configuration repository and five further ones, which all tests of this folder leave well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.further.several import Several
from tests.serving import Files, Serving, serving

MAIN: Files = {
    "application.yml": "log: main\nonly: main\n",
    "shop.yml": "n: 1\n",
    "pay.yml": "n: of the main repository\n",
}
PAYMENTS: Files = {
    "application.yml": "log: payments\n",
    "pay.yml": "n: 1\nfile: payments\n",
    "pay-prod.yml": "n: 2\n",
    "payroll.yml": "n: 3\n",
    "notes.txt": "n is ${n}\n",
    "other.json": '{"not": "for pay"}\n',
}
TEAM: Files = {
    "config/both.yml": "own: team\nlist: [1]\nboth: team\n",
    "config/both-prod.yml": "deep: {a: 1}\n",
    "config/both/motd.txt": "of the team\n",
}
SHARED: Files = {
    "application.yml": "log: shared\nboth: shared\ndeep: {b: 2}\n",
    "both-prod.yml": "own: shared in prod\nlist: [2, 3]\n",
}


@dataclass
class Estate:
    """A running server, and the further origins by name."""

    serving: Serving
    origins: dict[str, OriginRepo]
    file: Path

    def push(self, name: str, files: Files) -> str:
        """Commit to a further origin, and wait until the server has it. The id of the commit."""
        commit = self.origins[name].write(files)
        assert self.serving.refresh().status_code == 200
        return commit


@pytest.fixture(scope="package")
def estate(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Estate]:
    directory = tmp_path_factory.mktemp("further")
    several = Several(directory)
    several.add("payments", PAYMENTS, patterns=["pay*"])
    several.add("team", TEAM, patterns=["both", "solo*/dev*"], search_paths=["config", "config/{service}"])
    several.add("shared", SHARED, patterns=["both/*"])
    several.add("gone", None, patterns=["gone*"])
    several.add("lacking", {"lacking.yml": "n: 1\n"}, label="trunk")
    settings: dict[str, Any] = {"repositories_file": several.file, "webhook_secret": "hook-secret"}
    with serving(directory, issuer, MAIN, **settings) as running:
        assert running.refresh().status_code == 200
        yield Estate(running, several.origins, several.file)
