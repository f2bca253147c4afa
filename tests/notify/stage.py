"""A real engine over a real repository, moved by hand: no threads, no transport, no waiting."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.access.permissions import parse_grants
from app.model import Principal
from app.notify import Connection, Subscriber, now_text
from app.notify.wire import Command, Frame, Subscribe, Unsubscribe
from app.scheduler import Outcome
from app.services import Services
from app.settings import Settings, Timings
from app.streams import Close, Listener, StreamPolicy, StreamSession
from devstack.origin import OriginRepo
from tests.protocol import validated

FILES = {
    "application.yml": "log: info\nshared: 1\n",
    "pay.yml": "db:\n  pool: 5\n",
    "pay-prod.properties": "db.url=${host:localhost}/x\n",
    "shop.yml": "colour: red\n",
}

_connections = itertools.count(1)


class Conversation:
    """One client's stream. Every frame that it is told has passed the schema."""

    def __init__(self, policy: StreamPolicy, principal: Principal) -> None:
        self.policy = policy
        self.woken = threading.Event()
        self.subscriber = Subscriber(self.woken)
        assert policy.engine.notifier.join(self.subscriber)
        self.id = f"{next(_connections):016x}"
        self.listener = Listener(principal, self.id, "")
        self.session = StreamSession(policy, self.listener, self.subscriber)
        self.inbox: list[str | bytes] = []
        known = Connection(self.id, "websocket", principal.subject, "", now_text())
        assert policy.presence.arrive(known)

    def subscribe(self, *names: str) -> list[dict[str, Any]]:
        """What a client is told that holds nothing of these topics."""
        return self.resume(dict.fromkeys(names))

    def resume(self, topics: dict[str, str | None], **more: Any) -> list[dict[str, Any]]:
        """What a client is told that holds these etags; `more` members of Subscribe."""
        return frames(self.session.handle(Subscribe(topics, **more)))

    def unsubscribe(self, *names: str) -> list[dict[str, Any]]:
        return frames(self.session.handle(Unsubscribe(names)))

    def due(self) -> list[dict[str, Any]]:
        """What the stream says when it is woken."""
        return frames(self.session.due())

    def run(self, *opening: Command, messages: Iterable[str | bytes] = ()) -> Iterator[dict[str, Any] | Close]:
        """The whole life of the stream, frame by frame; the client says `messages` at once."""
        self.inbox += messages
        self.session = StreamSession(self.policy, self.listener, self.subscriber, opening=opening)
        while True:
            self.woken.clear()
            for item in self.session.turn(self._received()):
                yield item if isinstance(item, Close) else validated(item.text)
                if isinstance(item, Close):
                    return
            self.woken.wait(max(0.0, self.session.due_at() - time.monotonic()))

    def say(self, *messages: dict[str, Any]) -> None:
        """While the stream runs; each message is legal."""
        for message in messages:
            text = json.dumps(message)
            validated(text)
            self.inbox.append(text)
        self.woken.set()

    def _received(self) -> list[str | bytes]:
        taken, self.inbox = self.inbox, []
        return taken

    def leave(self) -> None:
        self.policy.engine.notifier.leave(self.subscriber, list(self.session.targets))
        self.policy.presence.depart(self.id)


class Stage:
    """`origin` is where the configuration is pushed; `services` is one worker that was made and not started."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.origin = OriginRepo(directory / "origin")
        self.origin.write(FILES, message="first")
        self._settings = Settings(
            repo_url=self.origin.url,
            jwt_issuer="https://issuer.example",
            jwt_audience=("config-server",),
            jwt_jwks_url="https://issuer.example/jwks.json",
            data_dir=directory / "data",
            timings=replace(
                Timings(), confirm_rewrite=0.0, heartbeat=60.0, drain=0.1, vault_connect=15.0, vault_read=15.0
            ),
            **settings,
        )

    def __enter__(self) -> Self:
        self.services = Services(self._settings)
        self.pull()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.services.repository.close()
        self.services.metrics.close()

    @property
    def rev(self) -> str:
        return str(self.services.engine.world.rev)

    def push(self, files: dict[str, str | None], message: str = "a change") -> str:
        """Commit, push, and let the worker follow. The id of the commit."""
        commit = self.origin.write(files, message=message)
        self.pull()
        return commit

    def pull(self) -> Outcome:
        """Fetch, announce, install; twice when something must be seen twice."""
        outcome = self.services.puller.tick()
        if outcome is Outcome.SUSPECT:
            outcome = self.services.puller.tick()
        self.services.installer.follow()
        return outcome

    def connect(self, scope: str = "config:read:*/*", *, lifetime: float = 3600.0, **policy: Any) -> Conversation:
        """A client whose token holds these permissions and expires in `lifetime` seconds."""
        return Conversation(replace(self.services.streams, **policy), ada(scope, lifetime))


def ada(scope: str = "config:read:*/*", lifetime: float = 3600.0, **members: Any) -> Principal:
    return Principal(
        **{
            "issuer": "https://issuer.example",
            "subject": "ada",
            "grants": parse_grants(scope.split()),
            "expires_at": time.time() + lifetime,
            "token_id": "j1",
            **members,
        }
    )


def frames(told: Iterable[Frame]) -> list[dict[str, Any]]:
    return [validated(frame.text) for frame in told]
