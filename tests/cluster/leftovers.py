"""What clients that are gone may have left in a server, and what it may have said of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import psutil

from devstack.server import Server
from tests.cluster.clients import ask, samples
from tests.cluster.stack import GREENLETS
from tests.support import eventually

#: A few more may be there for good: the blob reader's pipes, another connection to OpenBao.
_FOR_GOOD = 10


def quiet(server: Server) -> None:
    """Every line is JSON and none is about something that went wrong."""
    loud = [line for line in server.log_lines() if line["log.level"] in ("warning", "error", "critical")]
    assert loud == []


def streams_open(server: Server) -> float:
    return sum(value for name, value in samples(server).items() if name.startswith("config_server_streams_open"))


def greenlets(server: Server) -> dict[int, int]:
    """The living greenlets of each worker (of a server that is `timed`)."""
    found: dict[int, int] = {}

    def asked() -> bool:
        answer = ask(server, GREENLETS).json()
        found[answer["worker"]] = answer["living"]
        return found.keys() >= set(server.workers)

    eventually(asked, timeout=40)  # one may be quicker to take connections than the other
    return found


def descriptors(server: Server) -> dict[int, int]:
    """How many each worker has open, but for its connections to Redis: it keeps as many as it ever needed at once."""
    redis = urlsplit(server.settings["REDIS_URL"]).port

    def of(process: psutil.Process) -> int:
        peers = [each.raddr for each in process.net_connections(kind="tcp") if each.raddr]
        return int(process.num_fds()) - sum(1 for peer in peers if peer.port == redis)

    return {worker: of(psutil.Process(worker)) for worker in server.workers}


@contextlib.contextmanager
def nothing_left(server: Server) -> Iterator[None]:
    """No stream is open now, and none, nor a descriptor or greenlet, is left at the end; the workers live on."""
    eventually(lambda: streams_open(server) == 0)
    before, running = descriptors(server), greenlets(server)
    yield
    eventually(lambda: streams_open(server) == 0)
    assert set(server.workers) == set(before)
    for now, then in ((descriptors, before), (greenlets, running)):
        eventually(lambda: not _more(now(server), then), timeout=60)  # noqa: B023 - done within the round


def _more(now: Mapping[int, int], then: Mapping[int, int]) -> dict[int, int]:
    """By how much more than a few, worker by worker."""
    return {worker: number - then[worker] for worker, number in now.items() if number > then[worker] + _FOR_GOOD}
