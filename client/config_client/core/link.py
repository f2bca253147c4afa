"""One stream, from its opening to its end, as the core remembers it."""

from __future__ import annotations

from dataclasses import dataclass

from config_client.core.inbox import Inbox


@dataclass(slots=True)
class Link:
    """`deadline` is when it counts as dead unless something comes; `syncs` how many revisions it has told; `since` is
    when it began, `acked` when something was last acknowledged on it; `back_in` what a goodbye asks for, in seconds."""

    number: int
    transport: str
    inbox: Inbox
    since: float
    deadline: float
    connection: str = ""
    heartbeat: float = 0.0
    syncs: int = 0
    mismatches: int = 0
    acked: float = 0.0
    expires: float = 0.0
    back_in: float | None = None
    code: int = 0

    @property
    def is_socket(self) -> bool:
        return self.transport == "websocket"

    def heard(self, now: float, heartbeats: float) -> None:
        if self.heartbeat:
            self.deadline = now + heartbeats * self.heartbeat
