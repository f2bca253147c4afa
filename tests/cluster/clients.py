"""Clients of a running server, each on a connection of its own, which keep all that they were told and when."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from devstack.server import Server
from tests.protocol import validated
from tests.stress.history import patched
from tests.support import contents, eventually

Frame = dict[str, Any]


class Door(Protocol):
    """Where a client knocks: a server, or what stands in front of one."""

    port: int

    @property
    def url(self) -> str: ...

    def worker_of(self, port: int) -> int | None: ...


def ask(server: Door, path: str, token: str | None = None, method: str = "GET", **options: Any) -> httpx.Response:
    """One request on a connection of its own, so that any worker may get it."""
    headers = {**bearer(token), **options.pop("headers", {}), "Connection": "close"}
    # Without TLS nothing is verified, and reading the certificates takes longer than most requests.
    with httpx.Client(trust_env=False, verify=False, timeout=options.pop("timeout", 60)) as client:
        return client.request(method, server.url + path, headers=headers, **options)


def bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(frozen=True, slots=True)
class Held:
    """A configuration as a client has it after being told; `at` is monotonic seconds."""

    topic: str
    etag: str
    version: str
    rev: str
    doc: Any
    at: float


@dataclass
class Told:
    """The frames of one connection. `before` is what was held when it began, `error` what was wrong with a frame."""

    before: Mapping[str, Held] = field(default_factory=dict)
    frames: list[tuple[float, Frame]] = field(default_factory=list)
    error: BaseException | None = None

    def add(self, text: str) -> None:
        try:
            self.frames.append((time.monotonic(), validated(text)))
        except Exception as error:
            self.error = error
            raise

    def of(self, kind: str) -> list[Frame]:
        return [frame for _, frame in list(self.frames) if frame["type"] == kind]

    def held(self) -> dict[str, Held]:
        """What each topic stands at after the last `sync`; what no `sync` has closed is not counted."""
        assert self.error is None, self.error
        held: dict[str, Held] = dict(self.before)
        staged: list[tuple[float, Frame]] = []
        for at, frame in list(self.frames):
            if frame["type"] == "change":
                staged.append((at, frame))
            elif frame["type"] == "sync":
                for told, change in staged:
                    topic = change["topic"]
                    doc = document(held.get(topic), change)
                    held[topic] = Held(topic, change["etag"], change["version"], frame["rev"], doc, told)
                staged.clear()
        return held

    def check(self) -> None:
        """What every connection may rely on: hello first, valid frames, each etag once, revs that only rise."""
        assert self.error is None, self.error
        kinds = [frame["type"] for _, frame in self.frames]
        assert kinds[0] == "hello"
        assert kinds.count("hello") == 1
        puts = [(frame["topic"], frame["etag"]) for frame in self.of("change") if frame["op"] == "put"]
        assert all(one != next_one for one, next_one in itertools.pairwise(puts)), puts
        assert len(set(puts)) == len(puts), puts
        check_revs([frame["rev"] for frame in self.of("sync")])


def document(held: Held | None, change: Frame) -> Any:
    """What the change makes of the document that is held."""
    if change["op"] == "patch":
        assert held is not None
        assert held.etag == change["base"], change
        return patched(held.doc, change["patch"])
    return change.get("doc", held.doc if held else None)


def check_revs(revs: Sequence[str]) -> None:
    """The number of an epoch never falls."""
    highest: dict[str, int] = {}
    for text in revs:
        epoch, _, number = text.rpartition(".")
        assert int(number) >= highest.get(epoch, 0), revs
        highest[epoch] = int(number)


class Client(Protocol):
    """What the tests see of a client, whatever carries it."""

    kind: str
    worker: int | None

    def held(self) -> Mapping[str, Held]: ...

    def check(self) -> None: ...

    def close(self) -> None: ...


class WebSocketClient:
    """Subscribes to topics (with the etags it holds, if any) and listens on a thread until closed."""

    kind = "websocket"

    def __init__(
        self,
        server: Door,
        token: str,
        topics: Mapping[str, str | None],
        *,
        patches: bool = False,
        before: Mapping[str, Held] | None = None,
        **more: Any,
    ) -> None:
        self.told = Told(before or {})
        self._accept = {"accept": ["put", "patch"]} if patches else {}
        self.code: int | None = None
        url = server.url.replace("http", "ws", 1) + "/v1/stream"
        self._closing = contextlib.ExitStack()
        self._connection: ClientConnection = self._closing.enter_context(
            connect(
                url,
                subprotocols=[Subprotocol("cfg.v1")],
                additional_headers=bearer(token),
                proxy=None,
                compression=None,
                ping_interval=None,
                max_size=None,
                open_timeout=30,
                close_timeout=1,
                **more,
            )
        )
        self.worker = server.worker_of(self._connection.local_address[1])
        if topics:
            self.subscribe(topics)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def subscribe(self, topics: Mapping[str, str | None]) -> None:
        wanted = [{"name": name, **({"etag": etag} if etag else {})} for name, etag in topics.items()]
        self.send({"type": "subscribe", "topics": wanted, **self._accept})

    def send(self, command: Frame) -> None:
        self._connection.send(json.dumps(command))

    def held(self) -> Mapping[str, Held]:
        return self.told.held()

    def check(self) -> None:
        self.told.check()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self._closing.close()
        self._thread.join(5)

    def _listen(self) -> None:
        try:
            while True:
                self.told.add(str(self._connection.recv()))
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else 1006


class Refused(AssertionError):
    """An event stream was answered with another status than 200."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        super().__init__(f"{self.status}: {response.read()!r}")


class EventClient:
    """The same over Server-Sent Events. `ids` are the events' ids, with the type that bore them."""

    kind = "sse"

    def __init__(
        self,
        server: Door,
        token: str,
        topics: Mapping[str, str | None],
        *,
        patches: bool = False,
        before: Mapping[str, Held] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.told = Told(before or {})
        self.ids: list[tuple[str, str]] = []
        pairs = [pair for name, etag in topics.items() for pair in (("topic", name), ("etag", etag)) if pair[1]]
        pairs += [("accept", "patch")] if patches else []
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._connection.request("GET", "/v1/events?" + urlencode(pairs), headers={**bearer(token), **(headers or {})})
        self._sock = self._connection.sock  # the answer says `Connection: close`, and http.client lets go of it
        self.response = self._connection.getresponse()
        if self.response.status != 200:
            refused = Refused(self.response)
            self.close_socket()
            raise refused
        self.worker = server.worker_of(self._sock.getsockname()[1])  # before the answer nobody may have accepted it
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def held(self) -> Mapping[str, Held]:
        return self.told.held()

    def check(self) -> None:
        self.told.check()
        assert all(kind == "sync" for kind, _ in self.ids)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._sock.shutdown(2)  # wakes the thread that reads
        self._thread.join(5)
        self.close_socket()

    def close_socket(self) -> None:
        self.response.close()
        self._connection.close()

    def _listen(self) -> None:
        event: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while line := self.response.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                    continue
                self._take(event)  # only a blank line ends an event: what is cut before it is none
                event = {}

    def _take(self, event: Mapping[str, str]) -> None:
        self.told.add(event["data"])
        assert json.loads(event["data"])["type"] == event["event"]
        if "id" in event:
            self.ids.append((event["event"], event["id"]))


class PollClient:
    """Asks again and again for what differs from what it holds, always on one connection."""

    kind = "poll"

    def __init__(self, server: Door, token: str, topic: str, *, wait: float = 20) -> None:
        service, env = topic.split("/")[:2]
        self._path = f"/v1/config/{service}/{env}?wait={wait:g}"
        self._token = token
        self.answers: list[tuple[float, int, str]] = []  # when, status, rev
        self._held: dict[str, Held] = {}
        self._topics: list[tuple[str, str]] = []
        self._tag = ""
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._closing = False
        self._ask()
        self.worker = server.worker_of(self._connection.sock.getsockname()[1])
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def held(self) -> Mapping[str, Held]:
        return dict(self._held)

    def check(self) -> None:
        assert {status for _, status, _ in self.answers} <= {200, 304}, self.answers
        assert len(set(self._topics)) == len(self._topics)
        check_revs([rev for _, _, rev in self.answers])

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(2)
        self._thread.join(5)
        self._connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while not self._closing and self.answers[-1][1] in (200, 304):
                self._ask()

    def _ask(self) -> None:
        etag = self._tag if self._held else ""
        self._connection.request("GET", self._path, headers=bearer(self._token) | {"If-None-Match": etag})
        answer = self._connection.getresponse()
        body = answer.read()
        rev = answer.headers.get("X-Config-Rev", "")
        self.answers.append((time.monotonic(), answer.status, rev))
        if answer.status == 200:
            data = json.loads(body)
            topic = "/".join((data["service"], data["env"], data["label"]))
            self._tag = answer.headers["ETag"]
            self._topics.append((topic, data["etag"]))
            self._held[topic] = Held(topic, data["etag"], data["version"], rev, data["config"], time.monotonic())


Each = TypeVar("Each", bound=Client)


@contextlib.contextmanager
def on_each_worker(server: Server, opened: Callable[[], Each]) -> Iterator[list[Each]]:
    """Clients so that each of the server's workers holds exactly one; they are checked at the end."""
    eventually(lambda: set(server.workers) == set(server.installed), timeout=30)
    workers = set(server.workers)
    until = time.monotonic() + 40  # the kernel chooses who takes a connection
    clients: dict[int, Each] = {}
    spare: list[Each] = []
    try:
        while time.monotonic() < until:
            client = opened()
            if client.worker is None or client.worker in clients:
                spare.append(client)
            else:
                clients[client.worker] = client
            if set(clients) == workers:
                break
        assert set(clients) == workers, "some worker took no connection"
        for client in spare:
            client.close()
        spare.clear()
        yield list(clients.values())
        for client in clients.values():
            client.check()
    finally:
        for client in (*clients.values(), *spare):
            client.close()


@contextlib.contextmanager
def everywhere(server: Server, token: str, topic: str) -> Iterator[list[Client]]:
    """A WebSocket, an event stream and a long poll on every worker, all of which hold the topic already."""
    with (
        on_each_worker(server, lambda: WebSocketClient(server, token, {topic: None})) as sockets,
        on_each_worker(server, lambda: EventClient(server, token, {topic: None})) as events,
        on_each_worker(server, lambda: PollClient(server, token, topic)) as polls,
    ):
        clients: list[Client] = [*sockets, *events, *polls]
        eventually(lambda: all(client.held() for client in clients))
        yield clients


def versions(client: Client) -> set[str]:
    return {held.version for held in client.held().values()}


def arrived(clients: Sequence[Client], version: str, *, timeout: float = 15) -> list[Held]:
    """What each of the clients (of one topic) holds, once all hold `version`."""

    def told() -> list[Held]:
        held = [next(iter(client.held().values()), None) for client in clients]
        return [each for each in held if each is not None and each.version == version]

    try:
        return eventually(lambda: answers if len(answers := told()) == len(clients) else [], timeout=timeout)
    except AssertionError:
        missing = [
            (client.kind, client.worker)
            for client in clients
            if version not in [h.version for h in client.held().values()]
        ]
        raise AssertionError(f"{version} did not reach {missing} within {timeout} s") from None


def data_of(server: Server) -> Path:
    return Path(server.settings["DATA_DIR"])


def files_of(server: Server) -> dict[str, bytes]:
    """Everything in its DATA_DIR, by path. A server that runs writes and removes files meanwhile."""
    return contents(data_of(server))


def in_shared_epoch(server: Server) -> bool:
    """Whether all its workers stand at one revision that Redis has counted; without Redis each counts for itself."""
    revs = server.installed
    return len(revs) == len(server.workers) and len(set(revs.values())) == 1 and not min(revs.values()).startswith("0-")


def puller_of(server: Server) -> int:
    """The worker that holds the mirror's lock, by its last heartbeat; 0 for none, or while it is written."""
    try:
        return int(json.loads((data_of(server) / "mirror.lock").read_text())["pid"])
    except (ValueError, KeyError):
        return 0


def samples(server: Server) -> dict[str, float]:
    """Every series of /metrics, added up over the workers."""
    lines = ask(server, "/metrics").raise_for_status().text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def streams_of(server: Server) -> float:
    """WebSockets and event streams that its workers hold now."""
    return sum(value for name, value in samples(server).items() if name.startswith("config_server_streams_open"))
