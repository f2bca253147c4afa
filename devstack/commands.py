"""The commands that the demo prints, each to be pasted in another terminal in the project's folder."""

from __future__ import annotations

import enum
import shutil
from dataclasses import dataclass
from pathlib import Path

from devstack.server import ROOT
from devstack.stack import Stack

PYTHON = ".venv/bin/python"
TARGET = "payment-service/production"
ROTATED = "rotated-"
CHANGED = "Changed at "


class Kind(enum.Enum):
    """ASK answers and ends; FOLLOW goes on until Ctrl-C; WAIT answers when something changes; ACT changes something."""

    ASK = enum.auto()
    FOLLOW = enum.auto()
    WAIT = enum.auto()
    ACT = enum.auto()


@dataclass(frozen=True, slots=True)
class Command:
    """`expect` is a regular expression that its output matches (FOLLOW and WAIT: once a change has arrived)."""

    title: str
    text: str
    expect: str
    kind: Kind = Kind.ASK


def commands(stack: Stack) -> tuple[Command, ...]:
    """In the order in which they make sense."""
    url, run = stack.server.url, _shown(stack.run)
    curl = "curl" if shutil.which("curl") else f"{PYTHON} -m devstack.curl"
    target = f"{url}/v1/config/{TARGET}"

    def get(token: str, address: str, options: str = "") -> str:
        return f'{curl} -s{options} -H "Authorization: Bearer $(cat {run}/tokens/{token})" "{address}"'

    pretty = f" | {PYTHON} -m json.tool"
    stream = url.replace("http:", "ws:") + "/v1/stream"
    etag = f"{run}/payment-service.etag"
    hook = f'$({PYTHON} -m devstack.sign {run}/keys/webhook-secret "$BODY")'
    return (
        Command(
            "Read a configuration, secrets resolved", get("payment-service", target) + pretty, r'"password": "[^$]'
        ),
        Command("The same as YAML", get("payment-service", f"{target}?format=yaml"), r"(?m)^database:$"),
        Command("One part of it", get("payment-service", f"{target}?key=database.pool") + pretty, r'"max": 50'),
        Command(
            "Where each value comes from, and what it overrides",
            get("payment-service", f"{target}?explain=true") + pretty,
            r"payment-service-production\.yml",
        ),
        Command("With secrets masked, as a dashboard sees it", get("dashboard", target) + pretty, r'"\*{6}"'),
        Command("A plain file, its placeholders filled", get("payment-service", f"{target}/logback.xml"), '"WARN"'),
        Command(
            "What a token may not see",
            get("payment-service", f"{url}/v1/config/order-service/production") + pretty,
            r'"status": 403',
        ),
        Command(
            "Watch by WebSocket (Ctrl-C ends it)",
            f"{PYTHON} -m devstack.watch {stream} {TARGET} {run}/tokens/payment-service",
            CHANGED,
            Kind.FOLLOW,
        ),
        Command(
            "Watch by server-sent events (Ctrl-C ends it)",
            get("payment-service", f"{url}/v1/events?topic={TARGET}", "N"),
            CHANGED,
            Kind.FOLLOW,
        ),
        Command(
            "Wait for the next change by long poll, 50 s at most",
            f"{get('payment-service', target, f' --etag-save {etag} -o {run}/payment-service.json')}"
            f" && {get('payment-service', f'{target}?wait=50', f' --etag-compare {etag}')}",
            CHANGED,
            Kind.WAIT,
        ),
        Command(
            "Change a file, commit and push",
            f'echo "announcement={CHANGED}$(date +%T)" > {run}/git/work/payment-service-production.properties'
            f' && git -C {run}/git/work commit -qam "Change the announcement" && git -C {run}/git/work push -q',
            r"^$",
            Kind.ACT,
        ),
        Command(
            "Tell the server to fetch now (else it looks every 30 s)",
            get("admin", f"{url}/v1/admin/refresh", " -X POST") + pretty,
            r'"fetched": true',
            Kind.ACT,
        ),
        Command(
            "Or tell it as a Git host does, by a signed webhook",
            f"""BODY='{{"ref": "refs/heads/main"}}'; {curl} -s -X POST -H "X-GitHub-Event: push" """
            f'-H "X-Hub-Signature-256: {hook}" -H "Content-Type: application/json" '
            f'-d "$BODY" "{url}/hooks/git"{pretty}',
            "accepted",
            Kind.ACT,
        ),
        Command(
            "Rotate a secret, and see it arrive within seconds",
            f'BAO_ADDR={stack.bao.address} BAO_TOKEN="$(cat {run}/tokens/secret-writer)" .venv/bin/bao kv patch '
            f'-mount=secret services/{TARGET}/db password="{ROTATED}$(date +%s)"',
            "version",
            Kind.ACT,
        ),
        Command("How its parts are", f'{curl} -s "{url}/health"{pretty}', r'"status": "ok"'),
        Command(
            "What it counts, over both workers",
            get("dashboard", f"{url}/metrics") + " | grep ^config_server_",
            r"config_server_http_request_duration_seconds_count",
        ),
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
