# ruff: noqa: E402 - gevent patches the standard library before anything else imports it, or TLS recurses for ever
"""gunicorn's configuration: gevent workers, our JSON lines, metrics that add up over workers.

Reads CONFIG_SERVER_BIND, _WORKERS, _REDIS_URL, _DATA_DIR, _LOG_LEVEL, _METRICS and _STREAMS_PER_WORKER; the
application reads the rest. Each worker finds its slot, 0 to N-1, in the environment as CONFIG_SERVER_WORKER_SLOT: the
smallest number that no living worker has, so what a worker writes under it has one writer.
"""

from gevent import monkey

monkey.patch_all()

import fcntl
import gc
import itertools
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time the master must not hold our code, or a reload (SIGHUP) would not renew it
    from app.services import Services

# For this process and its workers: what dies young is collected more rarely, with more at a time. Modules are objects
# that stay: their loading takes a fifth less.
gc.set_threshold(20_000, 20, 20)

ROOT = Path(__file__).resolve().parent.parent
#: Connections beside streams: requests, health, and the scrape, which must answer when streams are full.
RESERVE = 1000
#: How long a connection may still wait for a request when the worker is going away, in seconds.
LINGER = 1


def _setting(name: str, default: str) -> str:
    return os.environ.get(f"CONFIG_SERVER_{name}") or default


def _number(name: str, default: int) -> int:
    return int(_setting(name, str(default)))


def _metrics_directory() -> str:
    """A fresh directory for the workers' metrics, and nothing left of servers that are gone.

    A directory belongs to a server as long as one of its processes holds the lock in it. The descriptor stays open on
    purpose and is inherited by the workers.
    """
    mine = os.environ.get("CONFIG_SERVER_METRICS_OWNER", "").split(":", 1)
    if mine[0] == str(os.getpid()) and len(mine) == 2 and os.path.isdir(mine[1]):
        return mine[1]  # a reload (SIGHUP) of the same server goes on counting
    base = Path(_setting("DATA_DIR", "/var/lib/config-server")) / "metrics"
    try:
        base.mkdir(parents=True, exist_ok=True)
        fresh = _cleared(base)
    except OSError as error:
        sys.exit(f"CONFIG_SERVER_DATA_DIR: {base} cannot be used: {error.strerror}")
    os.environ["CONFIG_SERVER_METRICS_OWNER"] = f"{os.getpid()}:{fresh}"
    return fresh


def _cleared(base: Path) -> str:
    """A new, held directory in `base`, after removing those that nobody holds."""
    descriptor = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # two servers that start together do not remove each other's
        for old in base.glob("run-*"):
            if (held := _held(old)) is not None:
                shutil.rmtree(old, ignore_errors=True)
                os.close(held)
        fresh = tempfile.mkdtemp(prefix="run-", dir=base)
        _held(Path(fresh))
        return fresh
    finally:
        os.close(descriptor)


def _held(directory: Path) -> int | None:
    """The descriptor of the directory's lock, or None when another server has it."""
    try:
        descriptor = os.open(directory / "owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _addresses() -> list[str]:
    """BIND, and the port that METRICS may name, on the same interface."""
    main = _setting("BIND", "0.0.0.0:8000")
    metrics = _setting("METRICS", "")
    return [main, f"{main.rpartition(':')[0]}:{metrics}"] if metrics.isdigit() else [main]


def _raise_descriptor_limit(wanted: int) -> None:
    """Every stream is a descriptor, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def _forbid_core_dumps() -> None:
    """A core file would hold every secret that the worker has in memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _settings_are_good() -> bool:
    """All problems in one message, before any worker. In a process of its own: the master must not hold our code."""
    return not subprocess.run([sys.executable, "-m", "app", "check"], cwd=ROOT, check=False).returncode


if not _settings_are_good():
    sys.exit(1)
_streams = _number("STREAMS_PER_WORKER", 10_000)
_raise_descriptor_limit(_streams + RESERVE + 500)
_forbid_core_dumps()

wsgi_app = "wsgi:app"
chdir = str(ROOT)
bind = _addresses()
workers = _number("WORKERS", (os.cpu_count() or 1) if _setting("REDIS_URL", "") else 1)
worker_connections = _streams + RESERVE
max_requests = 0  # a recycled worker would drop its streams
keepalive = 65  # seconds; longer than the 60 of common proxies. 0 or 1 would leave request heads without a timeout
timeout = 60  # seconds that the hub may stand still before the worker is taken for dead
graceful_timeout = int(max(5, _streams / 200)) + 10  # goodbyes are spread over N/200 s
control_socket_disable = True  # two instances of one user would remove each other's socket
accesslog = None  # we write our own lines, which know route, subject and topic
limit_request_line = 8190  # an event stream names its topics and etags in the query
forwarded_allow_ips = ""  # the peer of the socket is who is in the audit trail
forwarder_headers = ""  # SCRIPT_NAME and PATH_INFO are nobody's to set
proc_name = "config-server"

# Before the first import of prometheus_client, which looks at it once.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_directory()
sys.path.insert(0, str(ROOT))

import gevent
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

from app.observability.logs import configure_logging
from app.observability.multiprocess import fold_dead, know_own_process

know_own_process()
loglevel = _setting("LOG_LEVEL", "info").lower()


class JsonLogger(Logger):
    """gunicorn's own lines, rendered as ours are."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        configure_logging(cfg.loglevel)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """A peer that fell silent (ETIMEDOUT) is the network's affair, as one that reset the connection is."""
        told = self.debug if isinstance(sys.exception(), TimeoutError) else super().exception
        told(msg, *args, **kwargs)


logger_class = JsonLogger


class DrainingWorker(GeventWorker):
    """gunicorn's own, but kept-alive connections without a request do not hold up its end for `keepalive` seconds."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clients: dict[gevent.Greenlet, socket.socket] = {}
        self._idle: set[socket.socket] = set()

    def handle(self, listener: socket.socket, client: socket.socket, addr: Any) -> None:
        self._clients[gevent.getcurrent()] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self._clients[gevent.getcurrent()]

    def run(self) -> None:
        """Streams are no requests of gunicorn's: wait for them too, as long as it waits for requests."""
        super().run()
        services = _services(self)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while services is not None and services.streaming and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.1)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """The wait for a request's head. None is there when it ends without one, and the connection is closed."""
        client = self._clients[gevent.getcurrent()]
        with gevent.Timeout(self.cfg.keepalive if self.alive else LINGER, False):
            self._idle.add(client)
            try:
                yield
            finally:
                self._idle.discard(client)

    def end_idle(self) -> None:
        """What has arrived on these connections is still answered: the kernel hands it over before the end of file."""
        for client in list(self._idle):
            with suppress(OSError), client.dup() as twin:  # gevent's own would throw EBADF into who waits on `client`
                twin.shutdown(socket.SHUT_RD)


worker_class = DrainingWorker


def _services(worker: Worker) -> "Services | None":
    """The application's, once it is loaded."""
    application = worker.wsgi if hasattr(worker, "wsgi") else None
    services: Services | None = application.extensions.get("config_server") if application is not None else None
    return services


def when_ready(server: Arbiter) -> None:
    """In the arbiter, at its start: with settings that have become wrong a reload (SIGHUP) must not end the server."""
    reload = server.reload

    def checked() -> None:
        if _settings_are_good():
            reload()
        else:
            server.log.error("Not reloaded: the settings are wrong. The workers go on with those that they have.")

    server.reload = checked


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """In the arbiter: give the worker the smallest slot that is free."""
    taken = {other.config_server_slot for other in server.WORKERS.values()}
    worker.config_server_slot = next(slot for slot in itertools.count() if slot not in taken)


def post_fork(_server: Arbiter, worker: Worker) -> None:
    """In the worker: say which slot it has."""
    os.environ["CONFIG_SERVER_WORKER_SLOT"] = str(worker.config_server_slot)


def post_worker_init(worker: DrainingWorker) -> None:
    """In the worker, with the application loaded: start its threads, and watch for the end."""
    services = _services(worker)
    # A full collection walks over every object of ten thousand streams and stops the worker for a third of a second:
    # leave out what was there at the start.
    gc.freeze()
    if services is not None:
        services.start()
        gevent.spawn(_drain_at_the_end, worker, services)


def _drain_at_the_end(worker: DrainingWorker, services: "Services") -> None:
    """SIGTERM and SIGHUP only clear `alive`; streams would be cut at graceful_timeout if nobody told them."""
    while worker.alive:
        gevent.sleep(0.1)
    services.drain()
    worker.end_idle()


def worker_exit(_server: Arbiter, worker: Worker) -> None:
    """In the worker, after its last request: end the threads, write what is still to be written."""
    services = _services(worker)
    if services is not None:
        services.close()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """In the arbiter, when a worker is gone: keep what it counted in one file, so that scrapes stay fast."""
    try:
        fold_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), worker.pid)
    except OSError as error:
        server.log.error("The metrics of worker %s could not be folded: %s", worker.pid, error.strerror)


def on_exit(_server: Arbiter) -> None:
    """In the arbiter, at the end: the directory was for this run only."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
