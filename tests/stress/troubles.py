"""The hands that do what the plan says: push, cut, stall, kill, reload, and let Valkey forget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import httpx
import psutil

from devstack.server import Server
from tests.cluster.clients import ask, puller_of
from tests.cluster.stack import Stack
from tests.stress.content import SHARED, Content
from tests.stress.followers import Follower
from tests.stress.plan import DECK, Step
from tests.support import eventually

T = TypeVar("T")


class Troubles:
    """Several hosts of one stack and their followers. `made` has the steps that were done."""

    def __init__(self, stack: Stack, hosts: Sequence[Server], content: Content, followers: Sequence[Follower]) -> None:
        self._stack, self._hosts, self._content = stack, tuple(hosts), content
        self._followers = tuple(followers)
        self.made: list[str] = []
        self._copy = stack.valkey.save()
        self._replaced: dict[Server, set[int]] = {host: set() for host in hosts}
        self._by_name: Mapping[str, Callable[[Step], object]] = {name: getattr(self, name) for name in DECK}

    def do(self, step: Step) -> None:
        self.made.append(step.kind)
        self._by_name[step.kind](step)

    def push(self, step: Step) -> None:
        self._content.write(self._service(step))
        self._told(step)

    def push_some(self, step: Step) -> None:
        """Several services in one commit, which who follows several is told at once."""
        first = int(step.dice[0] * len(self._content.services))
        self._content.write(*self._content.services[first:], self._content.services[0])
        self._told(step)

    def push_to_all(self, step: Step) -> None:
        self._content.write(SHARED)
        self._told(step)

    def comment(self, step: Step) -> None:
        self._content.comment(self._service(step))
        self._told(step)

    def damage(self, step: Step) -> None:
        self._content.damage(self._service(step))
        self._told(step)

    def restore(self, step: Step) -> None:
        self._content.restore(self._service(step))
        self._told(step)

    def force(self, step: Step) -> None:
        self._content.force(_chosen(self._content.pushed.heads[-6:], step.dice[0]))
        self._told(step)

    def cut(self, step: Step) -> None:
        _chosen(self._followers, step.dice[0]).disconnect()

    def stall(self, step: Step) -> None:
        _chosen(self._followers, step.dice[0]).stall(0.5 + 2.5 * step.dice[2])

    def kill(self, step: Step) -> None:
        host = self._host(step)
        with contextlib.suppress(IndexError, psutil.NoSuchProcess):  # killed or replaced a moment ago
            killed(host, _chosen(sorted(host.workers), step.dice[0]), self._followers)

    def kill_puller(self, step: Step) -> None:
        host = self._host(step)
        with contextlib.suppress(psutil.NoSuchProcess):
            if (puller := puller_of(host)) in host.workers:
                killed(host, puller, self._followers)

    def reload(self, step: Step) -> None:
        host = self._host(step)
        self._replaced[host] |= set(host.workers)
        host.reload()

    def kill_connections(self, _step: Step) -> None:
        with self._stack.valkey.client as client:
            for kind in ("PUBSUB", "NORMAL"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind)

    def empty(self, _step: Step) -> None:
        self._stack.valkey.restart(empty=True)

    def roll_back(self, _step: Step) -> None:
        """To what Valkey held when this happened last, or in the beginning."""
        copy = self._stack.valkey.save()
        self._stack.valkey.restore(self._copy)
        self._copy = copy

    def make_well(self) -> None:
        """Let everything run again, and what a reload replaces be gone. Valkey is there anyway."""
        for follower in self._followers:
            follower.reading.set()
        for host, replaced in self._replaced.items():
            eventually(lambda: not replaced & set(host.workers), timeout=60)  # noqa: B023 - done within the round
            eventually(lambda: in_good_health(host), timeout=60)  # noqa: B023

    def _service(self, step: Step) -> str:
        return _chosen(self._content.services, step.dice[0])

    def _host(self, step: Step) -> Server:
        return _chosen(self._hosts, step.dice[1])

    def _told(self, step: Step) -> None:
        if step.hooked:
            with contextlib.suppress(OSError, httpx.HTTPError):  # a worker that was killed under it
                self._stack.hook(self._host(step))


def killed(host: Server, worker: int, followers: Sequence[Follower]) -> None:
    """Kill a worker, and let the followers know which of their connections end with it."""
    psutil.Process(worker).suspend()  # so that it takes no connection between the look and the end
    ports = connected_to(worker)
    for follower in followers:
        if follower.server is host:
            follower.killed_ports |= ports
    host.kill_worker(worker)


def connected_to(worker: int) -> set[int]:
    """The ports from where it has connections."""
    return {each.raddr.port for each in psutil.Process(worker).net_connections(kind="tcp") if each.raddr}


def in_good_health(host: Server) -> bool:
    try:
        return len(host.workers) == 2 and all(
            ask(host, "/health/ready", timeout=2).status_code == 200 for _ in range(4)
        )
    except (OSError, httpx.HTTPError):
        return False


def _chosen(items: Sequence[T], dice: float) -> T:
    return items[int(dice * len(items))]
