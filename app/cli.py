"""`python -m app`: what an operator does with a server's files, without a server."""

from __future__ import annotations

from pathlib import Path

import click

from app.audit import Verdict, verify_directory
from app.errors import SettingsError
from app.settings import Settings


@click.group()
def main() -> None:
    """Config Server."""


@main.command()
def check() -> None:
    """Read the settings from the environment; say everything that is wrong with them."""
    _settings()


@main.group()
def audit() -> None:
    """The audit trail."""


@audit.command()
@click.argument("directories", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--archived", is_flag=True, help="The oldest files were moved elsewhere: begin with what is here.")
def verify(directories: tuple[Path, ...], archived: bool) -> None:
    """Prove the chains of DIRECTORIES: no record edited, dropped or moved. Exits with 1 if one is not whole.

    Without DIRECTORIES, those of the server whose settings are in the environment. The trails of several hosts prove
    more together than each alone, as their chains name each other's ends.
    """
    directories = directories or (_settings().audit_path,)
    verdicts = verify_directory(*directories, archived=archived)
    if not verdicts:
        raise click.ClickException(f"no audit trail in {', '.join(map(str, directories))}")
    for name, verdict in verdicts.items():
        click.echo(f"{name}: {verdict.records} records, {_state(verdict)}")
    if not all(verdict.intact for verdict in verdicts.values()):
        raise SystemExit(1)


def _state(verdict: Verdict) -> str:
    if verdict.intact:
        return "intact"
    return f"BROKEN{f' at line {verdict.line}' if verdict.line else ''}: {verdict.reason}"


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except SettingsError as problems:
        raise click.ClickException(str(problems)) from problems
