"""`python -m app`: what an operator does with a server's files, without a server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.audit import verify_directory
from app.errors import SettingsError
from app.secrets import AppRole, RotationFailed, rotate
from app.settings import Settings
from app.vault_setup import auth_of, endpoint_of


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


@main.group()
def approle() -> None:
    """The AppRole with which the server logs in to Vault."""


@approle.command("rotate")
@click.option("--role", required=True, help="The AppRole's name in Vault.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a token that may manage the role's secret_ids; else VAULT_TOKEN or BAO_TOKEN.",
)
def rotate_secret_id(role: str, token_file: Path | None) -> None:
    """Put a new secret_id into VAULT_SECRET_ID_FILE, log in with it, and only then destroy the old one.

    Running servers go on; they read the file at their next login. One that was broken off may be run again.
    """
    settings = _settings()
    auth = auth_of(settings) if settings.vault_addr else None
    if settings.vault_addr is None or not isinstance(auth, AppRole):
        raise click.ClickException("the settings name no Vault, or no AppRole to log in with")
    given = os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN")
    token = token_file.read_text().strip() if token_file else given
    if not token:
        raise click.ClickException("no token: give --token-file, VAULT_TOKEN or BAO_TOKEN")
    try:
        done = rotate(endpoint_of(settings, settings.vault_addr), auth, role, token)
    except RotationFailed as failed:
        raise click.ClickException(str(failed)) from failed
    click.echo(f"A new secret_id is in place, and has logged in. Destroyed: {done.destroyed}.")


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except SettingsError as problems:
        raise click.ClickException(str(problems)) from problems
