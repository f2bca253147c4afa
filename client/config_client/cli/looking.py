"""Reading: get, watch, diff, history, blame, instances, can-i."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from config_client import keys
from config_client.cli import DIFFERENT, SAME, show
from config_client.cli.api import Api, Refused, path_of
from config_client.cli.session import Session, command
from config_client.snapshot import Change
from config_client.threads import SyncConfigClient

_LABEL = click.option("--label", help="A branch, tag or commit; the server's default label otherwise.")


def add_to(group: click.Group) -> None:
    for outputs, body in (
        (("table", "json", "yaml", "env"), get),
        (("table", "json"), watch),
        (("table", "json", "yaml"), diff),
        (("table", "json", "yaml"), history),
        (("table", "json", "yaml"), blame),
        (("table", "json", "yaml"), instances),
        (("table", "json"), audit),
        (("table", "json"), can_i),
    ):
        command(group, *outputs)(body)


@click.argument("target")
@click.argument("key", required=False)
@_LABEL
@click.option("--at", help="As it stood then (RFC 3339).")
@click.option("--explain", is_flag=True, help="Where each value comes from, and what it hides.")
def get(session: Session, target: str, key: str | None, label: str | None, at: str | None, explain: bool) -> None:
    """Print a configuration, or the part of it at KEY."""
    query = {"label": label, "at": at, "key": key}
    if session.how == "env":
        sys.stdout.write(session.api.config(target, **query, format="env"))
        return
    body = session.api.config(target, **query, explain="true" if explain else None)
    for each in body.get("stale", ()):
        show.say(f"stale: {each['reason']} since {each['since']}", "yellow")
    if session.how != "table":
        show.data({"config": body["config"], "explain": body["explain"]} if explain else body["config"], session.how)
        return
    told = body.get("explain", {})
    columns = ["KEY", "VALUE", *(["ORIGIN", "HIDES"] if explain else [])]
    show.table(columns, [[name, value, *_origin(told, name)] for name, value in show.leaves(body["config"], key or "")])


def _origin(told: Mapping[str, Any], key: str) -> list[str]:
    about = told.get(key)
    return [about["origin"], " ".join(about["overridden"])] if about else []


@click.argument("target")
@_LABEL
@click.option(
    "--exec", "run", metavar="CMD", help="Run it at each change (CONFIG_VERSION, CONFIG_KEYS in its environment)."
)
@click.option("--count", type=click.IntRange(1), help="End after so many changes.")
def watch(session: Session, target: str, label: str | None, run: str | None, count: int | None) -> None:
    """Print what changes, as it changes."""
    path_of(target)
    service, _, env = target.partition("/")
    profile = session.chosen()
    with SyncConfigClient(profile.server, service, env, profile.token, label=label or "") as client:
        client.fetch_initial_config()
        changes = client.changes()
        client.start_listening()
        show.say(f"watching {target} from version {client.version[:12]}; Ctrl-C ends it")
        try:
            for number, change in enumerate(changes, start=1):
                _print_change(change, session.how)
                if run:
                    _run(run, change)
                if number == count:
                    return
        except KeyboardInterrupt:
            return


def _print_change(change: Change, how: str) -> None:
    sides = [(key, change.old.get(key), change.new.get(key)) for key in change.keys]
    if how == "json":
        values = [{"key": key, "old": old, "new": new} for key, old, new in sides]
        sys.stdout.write(json.dumps({"version": change.new.version, "changes": values}, ensure_ascii=False) + "\n")
    else:
        at = f"{datetime.now():%H:%M:%S}"
        show.table([], [(at, change.new.version[:12], key, old, "->", new) for key, old, new in sides])
    sys.stdout.flush()


def _run(command: str, change: Change) -> None:
    about = {"CONFIG_VERSION": change.new.version, "CONFIG_KEYS": " ".join(change.keys)}
    done = subprocess.run(command, shell=True, env={**os.environ, **about}, check=False)  # noqa: S602 - their own command
    if done.returncode:
        show.say(f"the command ended with {done.returncode}", "yellow")


@click.argument("target")
@click.argument("from_", metavar="FROM", required=False)
@click.argument("to", required=False)
@click.option("--to-env", help="Compare with another env.")
@_LABEL
def diff(
    session: Session, target: str, from_: str | None, to: str | None, to_env: str | None, label: str | None
) -> int:
    """What differs between FROM and TO: labels, commits or times. Exits with 0 if nothing does, 1 if something does."""
    query: dict[str, Any] = {"from": from_, "to": to, "to_env": to_env, "label": label}
    body = session.api.get(f"/v1/diff/{path_of(target)}", **query)
    if session.how == "table":
        rows = [(_WORDS[each["change"]], each["key"], each.get("from"), each.get("to")) for each in body["changes"]]
        show.table(["", "KEY", "FROM", "TO"], rows)
    else:
        show.data(body, session.how)
    return DIFFERENT if body["changes"] else SAME


_WORDS = {"added": "add", "removed": "remove", "changed": "replace"}


@click.argument("target")
@_LABEL
@click.option("--at", help="As the label stood then (RFC 3339).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
def history(session: Session, target: str, label: str | None, at: str | None, limit: int) -> None:
    """What has changed what readers of TARGET get, the newest first."""
    found: list[Any] = []
    for each in _revisions(session.api, target, label, at):
        found.append(each)
        if len(found) == limit:
            break
    if session.how != "table":
        show.data(found, session.how)
        return
    rows = [(each["time"], _what(each), each.get("author", ""), _title(each), " ".join(each["keys"])) for each in found]
    show.table(["TIME", "COMMIT", "AUTHOR", "MESSAGE", "KEYS"], rows)


def _revisions(api: Api, target: str, label: str | None, at: str | None = None) -> Iterator[Mapping[str, Any]]:
    cursor = None
    while True:
        page = api.get(f"/v1/history/{path_of(target)}", label=label, at=at, cursor=cursor, limit=50)
        yield from page["revisions"]
        cursor = page["next"]
        if cursor is None:
            return


def _what(revision: Mapping[str, Any]) -> str:
    return str(revision["commit"])[:12] if revision["kind"] == "commit" else "rotation"


def _title(revision: Mapping[str, Any]) -> str:
    return str(revision.get("message", "")).partition("\n")[0]


@click.argument("target")
@click.argument("key")
@_LABEL
def blame(session: Session, target: str, key: str, label: str | None) -> None:
    """Where the value at KEY (or each below it) stands, and who last changed it."""
    body = session.api.config(target, label=label, key=key, explain="true")
    waiting = dict.fromkeys(name for name, _ in show.leaves(body["config"], key))
    found: dict[str, Mapping[str, Any]] = {}
    for revision in _revisions(session.api, target, label):
        for name in [each for each in waiting if each not in found]:
            if any(keys.matches(name, changed) for changed in revision["keys"]):
                found[name] = revision
        if len(found) == len(waiting):
            break
    told = body["explain"]
    lines = [{"key": name, **_blamed(told.get(name, {}), found.get(name, {}))} for name in waiting]
    if session.how != "table":
        show.data(lines, session.how)
        return
    columns = ("key", "origin", "commit", "author", "time", "message")
    show.table([name.upper() for name in columns], [[line[name] for name in columns] for line in lines])


def _blamed(about: Mapping[str, Any], revision: Mapping[str, Any]) -> dict[str, Any]:
    changed = {"commit": _what(revision), "message": _title(revision)} if revision else {"commit": "", "message": ""}
    rest = {name: revision.get(name, "") for name in ("author", "time")}
    return {"origin": about.get("origin", ""), **changed, **rest}


@click.argument("target", required=False)
@click.option("--behind", is_flag=True, help="Those alone that do not run with what they should.")
def instances(session: Session, target: str | None, behind: bool) -> None:
    """Who is connected, and what each has applied."""
    service, _, env = (target or "").partition("/")
    query: dict[str, Any] = {"service": service or None, "env": env or None, "behind": "true" if behind else None}
    found: list[Any] = []
    offset: int | None = 0
    while offset is not None:
        page = session.api.get("/v1/admin/instances", **query, offset=offset)
        found, offset = [*found, *page["instances"]], page["next"]
    if session.how != "table":
        show.data(found, session.how)
        return
    columns = ("service", "env", "label", "instance", "version", "transport", "address", "since", "behind")
    rows = [[*(each[name] for name in columns), (each["rejected"] or {}).get("reason")] for each in found]
    show.table([*(name.upper() for name in columns), "REJECTED"], rows)


@click.option("--subject", help="Who.")
@click.option("--action", help="What; * stands for anything.")
@click.option("--target", help="A topic or its beginning at a /; a branch, for changes.")
@click.option("--outcome", type=click.Choice(["allowed", "denied", "failed"]))
@click.option("--version", help="A commit.")
@click.option("--request-id")
@click.option("--since", help="A time (RFC 3339).")
@click.option("--until", help="A time (RFC 3339).")
@click.option("--scope", type=click.Choice(["cluster", "host"]), help="All hosts, or this one's files.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
def audit(session: Session, limit: int, **filters: str | None) -> None:
    """The audit trail, the newest first; with -o json a record a line."""
    query: dict[str, Any] = dict(filters)
    shown = 0
    cursor = None
    while shown < limit:
        page = session.api.get("/v1/admin/audit", **query, limit=min(limit - shown, 1000), cursor=cursor)
        _print_records(page["records"], session.how)
        shown, cursor = shown + len(page["records"]), page["next"]
        if cursor is None:
            return


def _print_records(records: Sequence[Mapping[str, Any]], how: str) -> None:
    if how == "json":
        sys.stdout.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
        return
    columns = ("time", "subject", "action", "outcome", "target", "version", "detail")
    show.table([name.upper() for name in columns], [[each.get(name) for name in columns] for each in records])


@click.argument("action", type=click.Choice(["read", "view", "write"]))
@click.argument("target")
def can_i(session: Session, action: str, target: str) -> int:
    """Whether the token may: read (with secrets), view (without) or write. Exits with 0 for yes, 1 for no."""
    allowed = {"read": _may_read, "view": _may_view, "write": _may_write}[action](session.api, target)
    if session.how == "json":
        show.data({"action": action, "target": target, "allowed": allowed}, "json")
    else:
        sys.stdout.write("yes\n" if allowed else "no\n")
    return 0 if allowed else 1


def _may_view(api: Api, target: str) -> bool:
    return _visible(api, target) is not None


def _may_read(api: Api, target: str) -> bool:
    """The two differ in secrets alone: who may only view sees a mask in their place."""
    seen = _visible(api, target)
    return seen is not None and "******" not in json.dumps(seen)


def _visible(api: Api, target: str) -> Any:
    try:
        return api.config(target)["config"]
    except Refused as refused:
        if refused.status in (401, 0) or refused.status >= 500:
            raise
        return None if refused.status == 403 else {}


def _may_write(api: Api, target: str) -> bool:
    """Asked with a change that is made on a commit which no branch has been at: it is refused in any case, for want of
    a grant before anything else."""
    path_of(target)
    edit = {"file": f"{target.replace('/', '-')}.yml", "unset": ["configctl.asks-whether-it-may"]}
    try:
        api.post("/v1/admin/changes", {"base": "0" * 40, "message": "never made", "edits": [edit]})
    except Refused as refused:
        if refused.status in (401, 501, 0) or refused.status >= 500:
            raise
        return refused.status != 403
    raise Refused(0, {"detail": "the server took a change that it had to refuse"})
