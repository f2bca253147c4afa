"""`python -m app`: what an operator does with a server's files, without a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.doctor import doctor
from app.errors import SettingsError
from app.serve import serve
from app.settings import SECRET_PATHS, TRANSIT_KEYS, Settings
from app.version import VERSION

if TYPE_CHECKING:  # `check`, which every start of a server runs, must not wait for what it does not use
    from app.audit import Verdict
    from app.repository import FurtherRepository


@click.group()
@click.version_option(VERSION, prog_name="config-server")
def main() -> None:
    """Config Server."""


main.add_command(serve)
main.add_command(doctor)


@main.command()
def check() -> None:
    """Read the settings from the environment, and the files that they name; say everything that is wrong with them."""
    from app.access import IssuersError, RbacError, load_rbac
    from app.issuer_profiles import issuer_profiles

    settings = _settings()
    try:
        issuer_profiles(settings)
    except IssuersError as wrong:
        raise click.ClickException(_told("CONFIG_SERVER_ISSUERS_FILE", wrong.problems)) from wrong
    try:
        if settings.rbac_file:
            load_rbac(settings.rbac_file)
    except RbacError as wrong:
        raise click.ClickException(_told("CONFIG_SERVER_RBAC_FILE", wrong.problems)) from wrong
    _repositories(settings.repositories_file)


@main.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--envs", envvar="CONFIG_SERVER_ENVS", default="", help="The legal envs, comma-separated.")
@click.option(
    "--search-paths", envvar="CONFIG_SERVER_SEARCH_PATHS", default="", help="As the setting; the root if empty."
)
@click.option(
    "--secret-paths",
    envvar="CONFIG_SERVER_SECRET_PATHS",
    default=",".join(SECRET_PATHS),
    help="As the setting.",
)
@click.option(
    "--transit-keys",
    envvar="CONFIG_SERVER_TRANSIT_KEYS",
    default=",".join(TRANSIT_KEYS),
    help="As the setting.",
)
@click.option("--encrypt-keys", envvar="CONFIG_SERVER_ENCRYPT_KEYS", default="", help="As the setting.")
@click.option(
    "--aliases", default="kv", show_default=True, help="The mounts that references may name, comma-separated."
)
@click.option(
    "--repositories-file",
    envvar="CONFIG_SERVER_REPOSITORIES_FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As the setting: what further repositories answer for is not looked for here.",
)
@click.option("--repository", default="", help="DIRECTORY is a checkout of this further repository.")
def validate(
    directory: Path,
    envs: str,
    search_paths: str,
    secret_paths: str,
    transit_keys: str,
    encrypt_keys: str,
    aliases: str,
    repositories_file: Path | None,
    repository: str,
) -> None:
    """Validate DIRECTORY, a checkout of a configuration repository, without a server: for its pipeline.

    Every known target is put together, its placeholders filled, its schemas applied, its secret references held against
    the path policy (no secret is read). Exits with 1 if anything is wrong.
    """
    from app import offline

    repositories = _repositories(repositories_file)
    paths: Sequence[str] = _listed(search_paths)
    if repository:
        found = next((each for each in repositories if each.name == repository), None)
        if found is None:
            raise click.ClickException(f"--repository: none of --repositories-file is called {repository}")
        paths = found.search_paths
    try:
        report = offline.validate(
            directory,
            envs=_listed(envs),
            search_paths=paths,
            secret_paths=_listed(secret_paths),
            aliases=frozenset(_listed(aliases)),
            transit_keys=_listed(transit_keys),
            encrypt_keys=_listed(encrypt_keys),
            repositories=repositories,
            repository=repository,
        )
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for finding in report.findings:
        whom = f" ({', '.join(finding.targets)})" if finding.targets else ""
        click.echo(f"{finding.place}: {finding.reason}{whom}")
    click.echo(f"{report.targets} targets, {len(report.findings)} findings", err=True)
    if not report.targets:
        raise click.ClickException("no target is known here: give --envs, or list them in .config-server/targets.toml")
    if report.findings:
        raise SystemExit(1)


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
    from app.audit import verify_directory

    verdicts = verify_directory(*directories, archived=archived)
    if not verdicts:
        raise click.ClickException(f"no audit trail in {', '.join(map(str, directories))}")
    for name, verdict in verdicts.items():
        click.echo(f"{name}: {verdict.records} records, {_state(verdict)}")
    if not all(verdict.intact for verdict in verdicts.values()):
        raise SystemExit(1)


def _told(name: str, problems: Sequence[str]) -> str:
    return f"{name}:\n" + "\n".join(f"  - {problem}" for problem in problems)


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
    from app.secrets import AppRole, RotationFailed, rotate
    from app.vault_setup import auth_of, endpoint_of

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


def _repositories(file: Path | None) -> tuple[FurtherRepository, ...]:
    if file is None:
        return ()
    from app.repository import RepositoriesError, load_repositories

    try:
        return load_repositories(file)
    except RepositoriesError as wrong:
        raise click.ClickException(_told("CONFIG_SERVER_REPOSITORIES_FILE", wrong.problems)) from wrong


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _state(verdict: Verdict) -> str:
    if verdict.intact:
        return "intact"
    return f"BROKEN{f' at line {verdict.line}' if verdict.line else ''}: {verdict.reason}"


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except SettingsError as problems:
        raise click.ClickException(str(problems)) from problems
