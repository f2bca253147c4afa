"""Setting up: login, doctor, completion."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from config_client.carriage import checked_url
from config_client.cli import show
from config_client.cli.api import Api
from config_client.cli.doctor import examine
from config_client.cli.profiles import Profile, store
from config_client.cli.session import Session, command


def add_to(group: click.Group) -> None:
    command(group)(login)
    command(group, "table", "json")(doctor)
    command(group)(completion)


@click.option("--token-command", metavar="CMD", help="Prints the token; run each time.")
@click.option("--token-env", metavar="NAME", help="An environment variable that holds it.")
@click.option("--skip-check", is_flag=True, help="Do not try it.")
def login(session: Session, token_command: str | None, token_env: str | None, skip_check: bool) -> None:
    """Store where the server is and where the token comes from (--server and --token-file stand before `login`).

    The token itself is not stored.
    """
    file = str(session.token_file.expanduser().resolve()) if session.token_file else None
    sources = {"command": token_command, "file": file, "env": token_env}
    given = [(kind, source) for kind, source in sources.items() if source]
    if len(given) != 1:
        raise ValueError("where does the token come from? one of --token-command, --token-file, --token-env")
    if not session.server:
        raise ValueError("which server? configctl --server URL login ...")
    profile = Profile(checked_url(session.server), *given[0])
    if not skip_check:
        api = Api(profile.server, profile.token())
        try:
            api.get("/v1/admin/status")
        finally:
            api.close()
        show.say(f"{profile.server} takes the token.", "green")
    show.say(f"Stored as profile {session.profile} in {store(session.profile, profile)}.")


@click.argument("target", required=False)
def doctor(session: Session, target: str | None) -> int:
    """What is wrong between me and the server (and TARGET): exits with 0 if nothing is, else 1."""
    found = list(examine(session.chosen(), target))
    if session.how == "json":
        show.data([{"check": each.name, "ok": each.ok, "detail": each.detail} for each in found], "json")
    else:
        show.table(["CHECK", "", "DETAIL"], [(each.name, "ok" if each.ok else "FAILS", each.detail) for each in found])
    return 0 if all(each.ok for each in found) else 1


@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Print what makes SHELL complete configctl: source <(configctl completion bash)."""
    del session
    kind = get_completion_class(shell)
    group = click.get_current_context().find_root().command
    if kind is None:
        raise ValueError(f"{shell} is not known to click")
    sys.stdout.write(kind(group, {}, "configctl", "_CONFIGCTL_COMPLETE").source() + "\n")
