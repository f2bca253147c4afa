"""Encrypting: a value that may stand in a file of the repository."""

from __future__ import annotations

import sys

import click

from config_client.cli import show
from config_client.cli.session import Session, command


def add_to(group: click.Group) -> None:
    command(group, "table", "json")(encrypt)


def encrypt(session: Session) -> None:
    """Print what stands for a value in a file: `{cipher}...`. The value is read from stdin, or asked for, unseen.

    Takes config:encrypt. A line's end at the end of stdin does not count.
    """
    if sys.stdin.isatty():
        value = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise ValueError("there is nothing to encrypt on stdin")
    sealed = session.api.post("/v1/admin/encrypt", {"value": value})
    if session.how == "json":
        show.data(sealed, "json")
    else:
        sys.stdout.write(f"{sealed['value']}\n")
