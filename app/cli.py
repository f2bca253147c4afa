"""`python -m app`: what an operator does with a server's files, without a server."""

from __future__ import annotations

from pathlib import Path

import click

from app.audit import verify_directory
from app.doctor import doctor
from app.errors import SettingsError
from app.serve import serve
from app.settings import Settings


@click.group()
def main() -> None:
    """Config Server."""


main.add_command(serve)
main.add_command(doctor)


@main.command()
def check() -> None:
    """Read the settings from the environment; say everything that is wrong with them."""
    _settings()


@main.group()
def audit() -> None:
    """The audit trail."""


@audit.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
def verify(directory: Path | None) -> None:
    """Prove the chains of DIRECTORY: no record edited, dropped or moved. Exits with 1 if one is not whole.

    Without DIRECTORY, those of the server whose settings are in the environment.
    """
    directory = directory or _settings().audit_path
    verdicts = verify_directory(directory)
    if not verdicts:
        raise click.ClickException(f"no audit trail in {directory}")
    for chain, verdict in verdicts.items():
        state = "intact" if verdict.intact else f"BROKEN at line {verdict.line}: {verdict.reason}"
        click.echo(f"{chain}: {verdict.records} records, {state}")
    if not all(verdict.intact for verdict in verdicts.values()):
        raise SystemExit(1)


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except SettingsError as problems:
        raise click.ClickException(str(problems)) from problems
