"""One stream on its socket: moves bytes without ever waiting, and never queues more than one piece of writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from enum import Enum

from app.notify import wire
from app.notify.wire import Frame
from app.streams.codec import Closed, Codec, Pinged
from app.streams.loop import NEVER, State, StreamLoop
from app.streams.session import Close, StreamSession
from app.streams.sockets import WOULD_BLOCK, Socket, cut, end_of_file

log = logging.getLogger(__name__)

#: What is written at a time, in bytes, unless one frame is larger.
PIECE = 64 * 1024
#: What is read at a time, in bytes; and after how many reads the others have their turn.
READ, READS = 16 * 1024, 4
#: How long the client may take to end the connection after our last word, in seconds.
LINGER = 2.0
INTERNAL = str(wire.CLOSE_INTERNAL)


class Phase(Enum):
    """OVER: the last word is said, and what is left is to see the client's end of file. CLOSED: nothing is left."""

    SPEAKING, OVER, CLOSED = range(3)


class SlowReader(OSError):
    """The client took nothing for too long; part of a frame may be out, so nothing may follow it."""


class Carrier:
    """A runner of the loop, and the wake-up of its session's subscriber (`set`).

    `first` are bytes that go out before any frame. `write_timeout`: how many seconds a blocked client may take a piece
    in. `on_end` is told once why the stream ended, as soon as nothing more is said; `on_closed` when the socket is.
    """

    __slots__ = (
        "_blocked_until",
        "_codec",
        "_heard",
        "_last",
        "_loop",
        "_on_closed",
        "_on_end",
        "_out",
        "_phase",
        "_readable",
        "_saying",
        "_session",
        "_sock",
        "_taken",
        "_write_timeout",
        "state",
        "timer",
    )

    def __init__(
        self,
        loop: StreamLoop,
        sock: Socket,
        codec: Codec,
        *,
        write_timeout: float,
        on_end: Callable[[str], None],
        on_closed: Callable[[], None] | None = None,
        first: bytes = b"",
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._codec = codec
        self._session: StreamSession | None = None
        self._write_timeout = write_timeout
        self._on_end = on_end
        self._on_closed = on_closed
        self._out = first
        self._saying: Iterator[Frame | Close] | None = None
        self._heard: Closed | None = None
        self._last: str | None = None
        self._phase = Phase.SPEAKING
        self._readable = True
        self._blocked_until: float | None = None
        self._taken = 0
        self.state = State.IDLE
        self.timer = NEVER

    def carry(self, session: StreamSession) -> None:
        """Begin. From now on the loop gives it turns."""
        self._session = session
        self._loop.add(self._sock.fileno(), self)

    def set(self) -> None:
        self._loop.schedule(self)

    def touched(self) -> None:
        self._readable = True

    def turn(self) -> float | None:
        try:
            if self._phase is Phase.SPEAKING:
                return self._speak()
            return self._linger() if self._phase is Phase.OVER else None
        except SlowReader:
            cut(self._sock)
            self._close(str(wire.CLOSE_SLOW))
        except OSError:
            self._close("gone")
        except Exception:
            log.exception("stream.failed")
            self._fail()
        return None

    def abandon(self) -> None:
        """At the end of the worker, from its own thread: no turn is under way that could say more."""
        self._close("gone")

    # Speaking

    def _speak(self) -> float | None:
        """Say what there is to say, as far as the client takes it."""
        session, asked = self._session, False
        assert session is not None
        while True:
            if self._out and not self._flushed():
                return self._blocked_until
            if self._last is not None:
                return self._finish()
            if self._saying is None:
                if asked:
                    break
                asked = True
                self._saying = iter(session.turn(self._listen()))
            self._gather(self._saying)
        if self._readable:
            self.set()  # there may be more; first the others
        return session.due_at()

    def _gather(self, saying: Iterator[Frame | Close]) -> None:
        """Take as many frames as make a piece: those of one revision mostly go out in one call."""
        pieces = [self._out]
        size = len(self._out)
        for item in saying:
            if isinstance(item, Close):
                pieces.append(self._codec.close(item.code, item.reason))
                self._last, self._saying = str(item.code), None
                break
            pieces.append(self._codec.encode(item))
            size += len(pieces[-1])
            if size >= PIECE:
                break
        else:
            self._saying = None
            self._answer_close(pieces)
        self._out = b"".join(pieces)

    def _answer_close(self, pieces: list[bytes]) -> None:
        """The client has ended the stream: what it said before that has been answered, and this is the last word."""
        if self._heard is not None:
            pieces.append(self._codec.close(self._heard.code, self._heard.reason))
            self._last = str(int(self._heard.code))

    def _flushed(self) -> bool:
        """Write what waits. False when the client takes no more for now; raises SlowReader when that lasts."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except WOULD_BLOCK:
                self._look_at_the_clock()
                return False
            self._out = self._out[sent:]
            self._taken += sent
            if self._taken >= PIECE:
                self._blocked_until, self._taken = None, 0
        self._blocked_until, self._taken = None, 0
        return True

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._blocked_until is None:
            self._blocked_until = now + self._write_timeout
        elif now >= self._blocked_until:
            raise SlowReader("the client does not read")

    # Listening

    def _listen(self) -> list[str | bytes | None]:
        """What the client has said since the last turn, None for a ping. Raises OSError when it is gone."""
        messages: list[str | bytes | None] = []
        if self._heard is not None:
            self._readable = False
        reads = 0
        while self._readable and reads < READS:
            reads += 1
            for each in self._received():
                if isinstance(each, Closed):
                    self._heard, self._readable = each, False
                else:
                    messages.append(each if isinstance(each, str | bytes) else None)
        return messages

    def _received(self) -> list[str | bytes | Pinged | Closed]:
        self._readable = False  # before the look: what comes during it is told by `touched`
        try:
            data = self._sock.recv(READ)
        except WOULD_BLOCK:
            return []
        if not data:
            raise ConnectionResetError("end of file")
        self._readable = True  # until it would block
        said, answer = self._codec.receive(data)
        self._out += answer
        return said

    # The end

    def _finish(self) -> float:
        """All is said: our end of file, and what the client still sends is let go by until its own."""
        end_of_file(self._sock)
        self._phase, self._readable = Phase.OVER, True
        self._blocked_until = time.monotonic() + LINGER
        self._ended(self._last or "gone")
        self.set()
        return self._blocked_until

    def _linger(self) -> float | None:
        """A close with unread data would be RST, and the client might lose our last word."""
        assert self._blocked_until is not None
        try:
            for _ in range(READS):
                if not self._sock.recv(READ):
                    break
                if time.monotonic() >= self._blocked_until:
                    cut(self._sock)
                    break
            else:
                self.set()  # it sends without end; first the others
                return self._blocked_until
        except WOULD_BLOCK:
            if time.monotonic() < self._blocked_until:
                return self._blocked_until
        self._close("gone")
        return None

    def _fail(self) -> None:
        """An error of ours: end in order, unless part of a frame is out or even that has failed."""
        if self._out or self._last is not None:
            self._close(INTERNAL)
        else:
            self._saying, self._last = None, INTERNAL
            self._out = self._codec.close(wire.CLOSE_INTERNAL, "internal error")
            self.set()

    def _close(self, reason: str) -> None:
        """Give everything back. Safe to call again."""
        if self._phase is Phase.CLOSED:
            return
        self._phase = Phase.CLOSED
        self._loop.remove(self._sock.fileno())
        self._sock.close()
        self._saying = None
        self._ended(reason)
        if self._on_closed is not None:
            self._on_closed()

    def _ended(self, reason: str) -> None:
        on_end, self._on_end = self._on_end, _nothing
        self._session = None
        on_end(reason)


def _nothing(_reason: str) -> None:
    """The end has been told."""
