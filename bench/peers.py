"""Others that do a part of this, on the same machine in the same run: etcd, OPAL, and nginx as the ceiling.

What differs. Reads: each is asked by the same load client over the same number of connections for the same bytes; etcd
and nginx check no token, etcd takes a POST and answers in base64. Changes: 3,000 clients, all of one topic, of one
worker. etcd begins with a write to itself; OPAL and this server with a webhook, so theirs includes a fetch from Git.
OPAL tells directories and the commit, for its clients to fetch; this server and etcd tell the new value. Only ours
checks tokens.
"""

from __future__ import annotations

import http.client
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.etcd import Etcd, encoded
from bench.load import Load
from bench.measure import Row, Spread, curve, median, save, spread
from bench.nginx import Nginx
from bench.opal import Opal, python
from bench.stage import Stage
from bench.wire import Opening, websocket
from bench.wrk import client, rate
from devstack.processes import NotReady

CLIENTS = 3_000
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Reads for `seconds` each, `rounds` times in turn; so many changes to all clients."""

    clients: int = CLIENTS
    rounds: int = 3
    seconds: float = 1.5
    changes: int = 3


@dataclass(frozen=True, slots=True)
class Told:
    """Since the change was asked for; the medians of the changes, and the curve of the last."""

    spread: Spread
    curve: list[float]


@dataclass(frozen=True, slots=True)
class Found:
    """By name, ours too: requests a second in each round, and when clients were told. `missing`: why not, by name."""

    reads: dict[str, list[float]]
    told: dict[str, Told]
    missing: dict[str, str]


def rows(plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    table = _table(found, plan)
    if keep:
        save("peers", table, client=client(), found=asdict(found))
    return table


def measure(directory: Path, plan: Plan) -> Found:
    directory.chmod(0o755)  # nginx's worker is another user
    missing = {name: why for name, why in (("etcd", _no("etcd")), ("nginx", _no("nginx")), ("OPAL", _no_opal())) if why}
    with Stage(directory, topics=1, streams=plan.clients + 100) as stage, ExitStack() as closing:
        token = stage.issuer.token("reader", "config:read", stage.service(0), lifetime=7200)
        path = f"/v1/config/{stage.service(0)}/prod"
        ours = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        body = _body(stage.server.port, path, token)
        asked = {"ours": (stage.server.port, ours)}
        told = {"ours": _told(stage.server.port, stage.openings(plan.clients, websocket), _change(stage), plan)}
        if "etcd" not in missing:
            etcd = closing.enter_context(Etcd(directory / "etcd"))
            told["etcd"] = _told(etcd.port, etcd.openings(plan.clients), _put(etcd), plan)
            etcd.put(body.decode())
            asked["etcd"] = (etcd.port, etcd.request())
        if "nginx" not in missing:
            nginx = closing.enter_context(Nginx(directory / "nginx", body))
            asked["nginx"] = (nginx.port, nginx.request())
        reads = _reads(asked, plan)
    if "OPAL" not in missing:
        with Opal(directory / "opal") as opal:
            told["OPAL"] = _told(opal.port, opal.openings(plan.clients), _commit(opal), plan)
    return Found(reads, told, missing)


#: Makes the number of a change it, and tells by what text it is known and when it was asked for.
Change = Callable[[int, Callable[[str], None]], float]


def _told(port: int, openings: Sequence[Opening], change: Change, plan: Plan) -> Told:
    with Load(port) as load:
        load.open(openings, timeout=_PATIENCE)
        spreads = []
        for number in range(1, plan.changes + 1):
            began = change(number, load.expect)
            arrived = load.arrivals(timeout=_PATIENCE)
            if arrived.lost:
                raise RuntimeError(f"{arrived.lost} of {plan.clients} were not told")
            spreads.append(spread(arrived.times, began))
    return Told(median(spreads), curve(arrived.times, began))


def _change(stage: Stage) -> Change:
    def change(number: int, expect: Callable[[str], None]) -> float:
        stage.push(f"round-{number}.")
        expect(f"round-{number}.")
        return stage.hook()

    return change


def _put(etcd: Etcd) -> Change:
    def change(number: int, expect: Callable[[str], None]) -> float:
        value = f"round-{number}.".ljust(2_000, ".")
        expect(encoded(value)[:16])
        return etcd.put(value)

    return change


def _commit(opal: Opal) -> Change:
    def change(number: int, expect: Callable[[str], None]) -> float:
        expect(opal.push(number))
        return opal.hook()

    return change


def _reads(asked: dict[str, tuple[int, str]], plan: Plan) -> dict[str, list[float]]:
    """In turn, round by round, so that what else the machine does touches all."""
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(plan.rounds):
        for name, (port, request) in asked.items():
            found[name].append(round(rate(port, [request], plan.seconds), 1))
    return found


def _body(port: int, path: str, token: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"GET {path} was answered with {answer.status}")
    return body


def _no(program: str) -> str:
    return "" if shutil.which(program) else f"there is no {program} here"


def _no_opal() -> str:
    try:
        python()
    except (OSError, subprocess.SubprocessError, NotReady) as failure:
        return f"opal-server cannot be installed here: {type(failure).__name__}"
    return ""


def _table(found: Found, plan: Plan) -> list[Row]:
    table = []
    reads = {name: round(statistics.median(rounds)) for name, rounds in found.reads.items()}
    told = {name: each.spread for name, each in found.told.items()}
    for name, why in (("etcd", "no token, base64"), ("nginx", "a file, no token")):
        if name in reads:
            table.append(Row(f"peers: reads beside {name}", reads["ours"], "/s", None, reads[name], why, beside=name))
    for name, why in (("etcd", "from a put, not from Git"), ("OPAL", "told of the commit, not its content")):
        if name in told:
            what = f"peers: {plan.clients} clients told of a change, p99, beside {name}"
            table.append(Row(what, told["ours"].p99, "s", None, told[name].p99, why, beside=name))
    table += [Row(f"peers: {name} is missing", 0, "", note=why) for name, why in found.missing.items()]
    return table
