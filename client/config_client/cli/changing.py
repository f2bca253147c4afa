"""Changing: plan, set, edit, rollback, promote. The plan is shown before anything is done."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from config_client.cli import FAILED, markdown, show
from config_client.cli.api import Api, Refused, path_of
from config_client.cli.session import Session, command, confirmed

_LABEL = click.option("--label", help="A branch; the server's default label otherwise.")
_MESSAGE = click.option("-m", "--message", help="Why; the commit's message.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_OVERRIDE = click.option("--override", metavar="REASON", help="Go through a freeze; it is recorded.")
_UNSET = click.option("--unset", multiple=True, metavar="KEY", help="Take a key out.")
_FILE = click.option("--file", help="Which file; SERVICE-ENV.yml, or the file of that stem that has the key.")


def add_to(group: click.Group) -> None:
    command(group, "table", "json", "yaml", "markdown")(plan)
    for body in (set_, edit, rollback, promote):
        command(group, "table", "json", "yaml", name=body.__name__.rstrip("_"))(body)


@click.argument("target", required=False)
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@_UNSET
@_FILE
@click.option("--commit", help="Instead: what if the label stood at this branch, tag or commit?")
@_LABEL
def plan(
    session: Session,
    target: str | None,
    values: Sequence[str],
    unset: Sequence[str],
    file: str | None,
    commit: str | None,
    label: str | None,
) -> int:
    """What a change would do, and to whom. Changes nothing. Exits with 1 if it would break something."""
    if commit:
        made = session.api.post("/v1/admin/plan", {"commit": commit, "label": label})
    elif target:
        edits = [_edit(session.api, target, values, unset, file, label)]
        made = session.api.post("/v1/admin/plan", {"edits": edits, "label": label})
    else:
        raise ValueError("plan what? TARGET KEY=VALUE, or --commit")
    if session.how == "table":
        show.plan(made)
    elif session.how == "markdown":
        sys.stdout.write(markdown.plan(made))
    else:
        show.data(made, session.how)
    return 1 if made["breaks"] else 0


@click.argument("target")
@click.argument("values", nargs=-1, metavar="KEY=VALUE...")
@_UNSET
@_FILE
@_MESSAGE
@_LABEL
@_OVERRIDE
@_YES
def set_(
    session: Session,
    target: str,
    values: Sequence[str],
    unset: Sequence[str],
    file: str | None,
    message: str | None,
    label: str | None,
    override: str | None,
    yes: bool,
) -> int:
    """Set and unset keys of TARGET, as a commit. A VALUE is JSON if it can be, else a text."""
    change = _edit(session.api, target, values, unset, file, label)
    named = [*change.get("set", {}), *change.get("unset", [])]
    return _changed(session, change, message or f"Set {', '.join(named)} of {target}", label, override, yes)


@click.argument("target")
@_FILE
@_MESSAGE
@_LABEL
@_OVERRIDE
@_YES
def edit(
    session: Session,
    target: str,
    file: str | None,
    message: str | None,
    label: str | None,
    override: str | None,
    yes: bool,
) -> int:
    """Edit a file of TARGET in $EDITOR, and commit it."""
    file = file or f"{target.replace('/', '-')}.yml"
    before = _text_of(session.api, target, file, label)
    after = click.edit(before, extension=Path(file).suffix or ".yml")
    if after is None or after == before:
        show.say("Nothing has changed.")
        return 0
    try:
        return _changed(session, {"file": file, "text": after}, message or f"Edit {file}", label, override, yes)
    except Refused:
        with tempfile.NamedTemporaryFile("w", delete=False, suffix=Path(file).suffix, encoding="utf-8") as kept:
            kept.write(after)
        show.say(f"What you have written is kept in {kept.name}.", "yellow")
        raise


def _text_of(api: Api, target: str, file: str, label: str | None) -> str:
    """As it lies in Git; empty where there is none yet."""
    try:
        bytes_as_they_lie = {"accept": "application/octet-stream"}
        return str(api.get(f"/v1/config/{path_of(target)}/{file}", label=label, headers=bytes_as_they_lie))
    except Refused as refused:
        if refused.status != 404:
            raise
        return ""


@click.argument("service", required=False)
@click.option("--to", required=True, metavar="COMMIT", help="A commit that the branch has been at, or its tag.")
@click.option("--file", "files", multiple=True, help="These files alone.")
@click.option("--all", "everything", is_flag=True, help="All files.")
@_MESSAGE
@_LABEL
@_OVERRIDE
@_YES
def rollback(
    session: Session,
    service: str | None,
    to: str,
    files: Sequence[str],
    everything: bool,
    message: str | None,
    label: str | None,
    override: str | None,
    yes: bool,
) -> int:
    """The files of SERVICE as they were at a commit, by a new commit."""
    body: dict[str, Any] = {"to": to, "service": service, "files": list(files) or None, "all": everything or None}
    return _confirmed(session, "rollback", {**body, "label": label, "override": override, "message": message}, yes)


@click.argument("service")
@click.option("--from", "source", required=True, metavar="ENV")
@click.option("--to", required=True, metavar="ENV")
@_MESSAGE
@_LABEL
@_OVERRIDE
@_YES
def promote(
    session: Session,
    service: str,
    source: str,
    to: str,
    message: str | None,
    label: str | None,
    override: str | None,
    yes: bool,
) -> int:
    """The files of SERVICE's one env made those of another, by a new commit."""
    body = {"service": service, "from": source, "to": to, "label": label, "override": override, "message": message}
    return _confirmed(session, "promote", body, yes)


def _edit(
    api: Api, target: str, values: Sequence[str], unset: Sequence[str], file: str | None, label: str | None
) -> dict[str, Any]:
    """The edit that the words mean. Raises ValueError."""
    path_of(target)
    given = dict(_pair(each) for each in values)
    if not given and not unset:
        raise ValueError("set what? KEY=VALUE, or --unset KEY")
    found = file or _file_of(api, target, next(iter([*given, *unset])), label)
    return {"file": found, **({"set": given} if given else {}), **({"unset": list(unset)} if unset else {})}


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _file_of(api: Api, target: str, key: str, label: str | None) -> str:
    """The target's own file that has the key already, else the usual one."""
    stem = target.replace("/", "-")
    try:
        told = api.config(target, label=label, explain="true")["explain"].get(key)
    except Refused as refused:
        if refused.status not in (404, 422):
            raise
        told = None
    origins = [told["origin"], *told["overridden"]] if told else []
    files = [origin.rsplit(":", 2)[0].partition("#")[0] for origin in origins]
    return next((file for file in files if Path(file).stem == stem), f"{stem}.yml")


def _changed(
    session: Session, change: Mapping[str, Any], message: str, label: str | None, override: str | None, yes: bool
) -> int:
    """Plan, ask, do."""
    made = session.api.post("/v1/admin/plan", {"edits": [change], "label": label})
    show.plan(made)
    if made["breaks"]:
        return FAILED
    if not confirmed(yes, "Make this change?"):
        return 1
    body = {"base": made["head"], "message": message, "edits": [change], "label": label, "override": override}
    return _told(session, session.api.post("/v1/admin/changes", body))


def _confirmed(session: Session, route: str, body: Mapping[str, Any], yes: bool) -> int:
    """A dry run, ask, and the same with the plan's id."""
    made = session.api.post(f"/v1/admin/{route}", body)["plan"]
    show.plan(made)
    if not made["files"]:
        show.say("There is nothing to do.")
        return 0
    if made["breaks"]:
        return FAILED
    if not confirmed(yes, "Do it?"):
        return 1
    return _told(session, session.api.post(f"/v1/admin/{route}", {**body, "confirm": made["id"]}))


def _told(session: Session, done: Any) -> int:
    if done is None:
        show.say("It is pushed, and not installed yet.", "yellow")
    elif session.how == "table":
        sys.stdout.write(f"{done['commit']}\n")
    else:
        show.data({name: done[name] for name in ("commit", "label", "rev")}, session.how)
    return 0
