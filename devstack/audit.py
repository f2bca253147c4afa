"""Known holes in what the server is pinned to: `python -m devstack.audit requirements.lock` asks the package index.

PyPI tells them itself, in its JSON API, for each release. An index that mirrors it may tell them of the newest releases
alone. What nobody could be asked about is no good news: it fails as a hole does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

INDEX = "https://pypi.org/pypi"
_PINNED = re.compile(r"^([\w.-]+)==([\w.!+-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Hole:
    """What is known of one release: the id of an advisory, or why nobody could say."""

    package: str
    version: str
    told: str
    mended_in: tuple[str, ...] = ()

    def __str__(self) -> str:
        mended = f"; mended in {', '.join(self.mended_in)}" if self.mended_in else ""
        return f"{self.package} {self.version}: {self.told}{mended}"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--index", default=INDEX, help="The JSON API of the package index.")
def main(files: tuple[Path, ...], index: str) -> None:
    """Tell the known holes of all that FILES pin (name==version), and exit with 1 if there is one."""
    releases = sorted({pin for file in files for pin in _PINNED.findall(file.read_text())})
    if not releases:
        raise click.ClickException("nothing is pinned there")
    found = list(holes(releases, index))
    for hole in found:
        click.echo(hole)
    click.echo(f"{len(releases)} releases asked about: {f'{len(found)} to look at' if found else 'no known hole'}")
    sys.exit(bool(found))


def holes(releases: Iterable[tuple[str, str]], index: str) -> Iterator[Hole]:
    """Of each (name, version), in order."""
    with httpx.Client(timeout=20, follow_redirects=True) as client, ThreadPoolExecutor(4) as threads:
        for each in threads.map(lambda release: list(_of(client, index, *release)), releases):
            yield from each


def _of(client: httpx.Client, index: str, name: str, version: str) -> Iterator[Hole]:
    try:
        told = _told(client, index, name, version)
    except (httpx.HTTPError, ValueError) as exc:
        yield Hole(name, version, f"could not be asked about ({type(exc).__name__})")
        return
    if told is None:
        yield Hole(name, version, "could not be asked about: the index tells of other releases only")
        return
    for advisory in told:
        if not advisory.get("withdrawn"):
            yield Hole(name, version, str(advisory["id"]), tuple(advisory.get("fixed_in") or ()))


def _told(client: httpx.Client, index: str, name: str, version: str) -> list[dict[str, Any]] | None:
    """The advisories of a release; None where the index does not tell. Raises httpx.HTTPError, ValueError."""
    answer = client.get(f"{index}/{name}/{version}/json")
    if answer.status_code == 404:
        answer = client.get(f"{index}/{name}/json")
    page = answer.raise_for_status().json()
    told: list[dict[str, Any]] | None = page.get("vulnerabilities")
    return told if page["info"]["version"] == version else None


if __name__ == "__main__":
    main()
