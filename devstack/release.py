"""A release: `python -m devstack.release 1.2.3` checks, builds, installs in empty environments and tags."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from devstack.server import ROOT

_VERSION = re.compile(r"\d+\.\d+\.\d+")
#: Files that say which version this is, and how: what is published together bears one number.
_SAY_SO = {
    "app/version.py": r'^VERSION = "([^"]*)"',
    "client/config_client/version.py": r'^__version__ = "([^"]*)"',
}
_SERVER = (
    "import app.cli, app.embedded; from importlib.resources import files; "
    "assert any((files('app.blueprints') / 'assets').iterdir())"
)
#: Folder of a distribution -> what must run where nothing but that distribution is installed.
PROOFS = {".": ["-c", _SERVER], "client": ["-c", "import config_client"]}


@click.command()
@click.argument("version")
def main(version: str) -> None:
    """Release VERSION from the commit that is checked out."""
    problems = list(objections(ROOT, version))
    if problems:
        raise click.ClickException("; ".join(problems))
    with tempfile.TemporaryDirectory(prefix="release-") as directory:
        for folder in distributions(ROOT):
            wheel = built(ROOT / folder, Path(directory) / "dist")
            installed(wheel, Path(directory) / f"venv-{wheel.stem}", PROOFS[folder])
            click.echo(f"{wheel.name}: built, installs, runs")
        kept = ROOT / "dist"
        kept.mkdir(exist_ok=True)
        for file in (Path(directory) / "dist").iterdir():
            file.replace(kept / file.name)
    _git(ROOT, "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    click.echo(f"Tagged v{version}; dist/ has the distributions. Push the tag when you are sure.")


def objections(root: Path, version: str) -> Iterator[str]:
    """Why this commit is not `version`."""
    if not _VERSION.fullmatch(version):
        yield f"{version!r} is not a version like 1.2.3"
        return
    if _git(root, "status", "--porcelain"):
        yield "there is something that is not committed"
    if f"v{version}" in _git(root, "tag", "--list").split():
        yield f"v{version} is there already"
    for name, pattern in _SAY_SO.items():
        said = re.findall(pattern, (root / name).read_text(), re.MULTILINE)
        if said != [version]:
            yield f"{name} says {', '.join(said)}"
    if not re.search(rf"^## {re.escape(version)}\b", (root / "docs" / "CHANGELOG.md").read_text(), re.MULTILINE):
        yield f"docs/CHANGELOG.md has no section {version}"


def distributions(root: Path) -> list[str]:
    return [folder for folder in PROOFS if (root / folder / "pyproject.toml").exists()]


def built(folder: Path, out: Path) -> Path:
    """The wheel of `folder`; the source distribution, from which it is built, lies beside it."""
    before = set(out.glob("*.whl"))
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(folder)], stdout=subprocess.DEVNULL, check=True
    )
    (wheel,) = set(out.glob("*.whl")) - before
    return wheel


def installed(wheel: Path, environment: Path, proof: list[str]) -> None:
    """Install it where nothing else is, and run it from a folder that is not ours. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True)
    subprocess.run([python, *proof], cwd=environment, stdout=subprocess.DEVNULL, check=True)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
