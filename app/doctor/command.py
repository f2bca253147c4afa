"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import logging

import click
import structlog

from app.doctor.finding import Level


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each finding, one in a line.")
def doctor(as_json: bool) -> None:
    """Try everything that the server of these settings leans on, from this machine; tell each remedy.

    Exits with 1 if something failed; a warning is no failure. Changes nothing, but for one login to Vault.
    """
    from app.doctor.checkup import findings  # the other commands must not wait for the server's imports

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    worst = Level.OK
    for finding in findings():
        click.echo(json.dumps(finding.as_json()) if as_json else "\n".join(finding.lines()))
        if finding.level is Level.FAILED:
            worst = Level.FAILED
    if worst is Level.FAILED:
        raise SystemExit(1)
