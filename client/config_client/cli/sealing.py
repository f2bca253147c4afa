"""Encrypting a value that may stand in a file of the repository, and the reverse."""

from __future__ import annotations

import sys
from typing import Any

import click

from config_client.cli import show
from config_client.cli.session import Session, command


def add_to(group: click.Group) -> None:
    for body in (encrypt, decrypt):
        command(group, "table", "json")(body)


@click.option("--key", metavar="ALIAS", help="By this one of the server's keys.")
@click.option("--transit", metavar="KEY", help="By this key of Vault's transit engine.")
def encrypt(session: Session, key: str | None, transit: str | None) -> None:
    """Print what stands for a value in a file: `{cipher}...`. The value is read from stdin, or asked for, unseen.

    Takes config:encrypt. A line's end at the end of stdin does not count.
    """
    given = {"value": _value(confirm=True), "key": key, "transit": transit}
    _print(session, session.api.post("/v1/admin/encrypt", {name: each for name, each in given.items() if each}))


def decrypt(session: Session) -> None:
    """Print the value that stands behind `{cipher}...` or `${transit:...}`, which is read from stdin, or asked for.

    Takes config:decrypt, and a server that allows it (DECRYPT_ENDPOINT).
    """
    _print(session, session.api.post("/v1/admin/decrypt", {"value": _value(confirm=False)}))


def _value(*, confirm: bool) -> str:
    """Raises ValueError when there is none."""
    if sys.stdin.isatty():
        value = str(click.prompt("Value", hide_input=True, confirmation_prompt=confirm, err=True))
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise ValueError("there is nothing on stdin")
    return value


def _print(session: Session, answer: Any) -> None:
    if session.how == "json":
        show.data(answer, "json")
    else:
        sys.stdout.write(f"{answer['value']}\n")
