"""The one place that knows whose sockets these are: the kernel's own, also where gevent has replaced the library's.

A stream's socket never blocks, so it needs nothing of gevent, and a plain one costs a tenth of gevent's. Only the wait
for thousands of them is gevent's where gevent runs: it must let the worker's requests go on.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from contextlib import suppress
from typing import Protocol

from gevent.monkey import get_original

#: The classes of the standard library, whether or not gevent has patched it.
_KernelSocket = get_original("socket", "socket")
_Epoll = get_original("select", "epoll")
#: For a few instructions among which nobody waits, so that nobody ever waits for it: a tenth of gevent's own.
Mutex = get_original("_thread", "allocate_lock")

_TCP_USER_TIMEOUT = 18  # Linux, tcp(7); the socket module has no name for it everywhere
#: A peer that acknowledges nothing for this long is gone, in seconds.
SILENCE = 30
#: What a call on a socket that never blocks raises when it would have to.
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: Edge-triggered: each change is told once, so a socket is read and written until it would block.
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET if hasattr(select, "EPOLLIN") else 0


class Socket(Protocol):
    """What a carrier needs of a socket that never blocks."""

    def send(self, data: bytes, /) -> int: ...

    def recv(self, size: int, /) -> bytes: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


def is_ours_to_keep(sock: socket.socket) -> bool:
    """Whether a descriptor of it can outlive the server's own: TLS lives in the object, not in the kernel."""
    return not hasattr(sock, "pending")


def own(sock: socket.socket) -> Socket:
    """The connection as a socket that never blocks: on a descriptor of its own, or the same one (TLS)."""
    if not is_ours_to_keep(sock):
        sock.setblocking(False)
        return sock
    kept: socket.socket = _KernelSocket(fileno=os.dup(sock.fileno()))
    kept.setblocking(False)
    return kept


def watch_peer(sock: socket.socket) -> None:
    """Let the kernel find out when the peer is gone, and send small frames at once."""
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENCE // 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, SILENCE * 1000)


def has_ended(sock: socket.socket) -> bool:
    """Whether the peer has closed its side, and all that it sent before is read. Never waits."""
    try:
        with _borrowed(sock) as plain:
            return not plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def end_of_file(sock: Socket) -> None:
    """Nothing more comes from here; what the peer still sends may be read."""
    with suppress(OSError), _borrowed(sock) as plain:
        plain.shutdown(socket.SHUT_WR)


def cut(sock: Socket) -> None:
    """End the connection without another byte (RST): part of a frame may be out, so nothing may follow it."""
    with suppress(OSError), _borrowed(sock) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.shutdown(socket.SHUT_RDWR)


def _borrowed(sock: Socket | socket.socket) -> socket.socket:
    """The same connection under a descriptor that is closed after use."""
    plain: socket.socket = _KernelSocket(fileno=os.dup(sock.fileno()))
    return plain


class Watch:
    """Watches many sockets for one thread, which `wait`s; any thread may `add`, `remove` and `wake`."""

    def __init__(self) -> None:
        self._epoll = _Epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.POLLIN)
        self._patience = select.poll()  # gevent's, where it runs: only this thread waits
        self._patience.register(self._epoll.fileno(), select.POLLIN)

    def add(self, descriptor: int) -> None:
        self._epoll.register(descriptor, _EDGES)

    def remove(self, descriptor: int) -> None:
        with suppress(OSError):  # the kernel has removed it already
            self._epoll.unregister(descriptor)

    def wake(self) -> None:
        """End the wait that goes on, or else the next one."""
        os.eventfd_write(self._bell, 1)

    def wait(self, seconds: float | None) -> list[int]:
        """The descriptors on which something has changed; empty after `seconds`, or when woken."""
        self._patience.poll(None if seconds is None else max(0.0, seconds) * 1000)
        told = [descriptor for descriptor, _ in self._epoll.poll(0, 4096)]
        if self._bell in told:
            os.eventfd_read(self._bell)
            told.remove(self._bell)
        return told

    def close(self) -> None:
        self._epoll.close()
        os.close(self._bell)
