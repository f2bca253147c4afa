"""`python -m app serve`: a folder or a repository in, a server out. One process, no Redis, no Vault, nothing to set."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from app.errors import ConfigServerError, SettingsError

BIND = "127.0.0.1:8000"
#: How often a folder is looked at, and a repository of this machine fetched from, in seconds.
LOOK = 1.0


@click.command()
@click.option("--repo", default=".", metavar="WHERE", help="A folder, a repository, or a repository's URL.")
@click.option("--bind", metavar="HOST:PORT", help=f"Where to listen.  [default: {BIND}]")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="What is kept between two runs.")
def serve(repo: str, bind: str | None, data_dir: Path | None) -> None:
    """Serve WHERE (the folder you are in) from this process, until Ctrl-C.

    A repository is served as it was committed, a plain folder as it stands. Settings in the environment hold
    (CONFIG_SERVER_*); without any that name an issuer, a token for development is made and printed, and only this
    machine can reach the server.
    """
    from app.observability import configure_logging  # the command line's help must not wait for the server's imports

    bind = bind or os.environ.get("CONFIG_SERVER_BIND") or BIND
    data_dir = data_dir or _data_dir(repo)
    try:
        with _alone(data_dir):
            configure_logging(os.environ.get("CONFIG_SERVER_LOG_LEVEL", "warning"), sys.stderr)
            _serve(repo, bind, data_dir)
    except (ConfigServerError, OSError, ValueError) as exc:
        raise click.ClickException(_reason(exc)) from exc


def _serve(repo: str, bind: str, data_dir: Path) -> None:
    from app.embedded import ConfigServer
    from app.repository import Snapshots, protocol_of

    if protocol_of(repo) == "file" and "://" not in repo and not Path(repo).is_dir():
        raise ValueError(f"{repo}: there is no such folder")
    is_folder = Path(repo).is_dir() and not _is_repository(Path(repo))
    snapshots = Snapshots(Path(repo).resolve(), data_dir / "folder.git") if is_folder else None
    if snapshots:
        snapshots.take()
    given = _given(str(snapshots.path) if snapshots else repo, bind, data_dir)
    token, more = _identity(bind, data_dir)
    with _until_told_to_end() as ended:
        server = ConfigServer(**given, **more)
        try:
            ready = server.start().wait(10)
            _greet(server.url, repo, token, ready=ready)
            while not ended.wait(LOOK):
                _look(snapshots, server.services.hint)
        finally:
            server.close()
    click.echo("Ended.")


def _given(repo: str, bind: str, data_dir: Path) -> dict[str, Any]:
    given: dict[str, Any] = {"repo_url": repo, "bind": bind, "data_dir": data_dir, "workers": 1}
    if "CONFIG_SERVER_POLL_SECONDS" not in os.environ and Path(repo).is_dir():
        given["poll_seconds"] = LOOK
    return given


def _identity(bind: str, data_dir: Path) -> tuple[str | None, Mapping[str, Any]]:
    """A token for development and the settings that verify it; neither where the environment names an issuer."""
    from app.development import AUDIENCE, ISSUER, is_loopback, new_development

    if any(name.startswith(("CONFIG_SERVER_JWT_", "CONFIG_SERVER_ISSUERS_FILE")) for name in os.environ):
        return None, {}
    if not is_loopback(bind):
        named = "CONFIG_SERVER_JWT_ISSUER, _JWT_AUDIENCE and one of _JWT_JWKS_URL, _JWT_PUBLIC_KEY_FILE, _JWT_DISCOVERY"
        raise ValueError(
            f"{bind} can be reached from other machines, and a token for development is for this one only. "
            f"Listen on 127.0.0.1, or name who issues tokens: {named}."
        )
    made = new_development(data_dir)
    settings = {"jwt_issuer": ISSUER, "jwt_audience": (AUDIENCE,), "jwt_public_key_file": made.public_key_file}
    return made.token, settings


def _greet(url: str, repo: str, token: str | None, *, ready: bool) -> None:
    click.echo(f"Config Server serves {repo} at {url}; {url}/docs describes it. Ctrl-C ends it.")
    if not ready:
        click.echo(f"There is nothing to serve yet: see {url}/health and the lines above.")
    if token:
        click.echo("A token for development, good for 24 hours and until the server ends. It may do everything:\n")
        click.echo(f"  TOKEN={token}")
        click.echo(f'  curl -s -H "Authorization: Bearer $TOKEN" {url}/v1/config/application/default\n')


def _look(snapshots: Any, hint: Callable[[], int]) -> None:
    """One look at the folder. A look that fails is told, and the next one tries again."""
    try:
        if snapshots is not None and snapshots.take():
            hint()
    except ConfigServerError as exc:
        click.echo(f"{_reason(exc)}; what was served before is served on.", err=True)


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists() or all((folder / name).exists() for name in ("HEAD", "objects", "refs"))


def _data_dir(repo: str) -> Path:
    """One for each repository, where the user's programs keep such things (XDG Base Directory Specification)."""
    if set_by_hand := os.environ.get("CONFIG_SERVER_DATA_DIR"):
        return Path(set_by_hand)
    where = str(Path(repo).resolve()) if Path(repo).is_dir() else repo
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "config-server" / hashlib.sha256(where.encode()).hexdigest()[:16]


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Two processes on one directory would number changes each for itself. Raises OSError, ValueError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ValueError(f"another server is using {data_dir}; give this one another --data-dir") from exc
        yield


@contextmanager
def _until_told_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C and by SIGTERM; meanwhile neither cuts anything off."""
    ended = threading.Event()
    former = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _reason(exc: Exception) -> str:
    if isinstance(exc, SettingsError):
        return str(exc)
    if isinstance(exc, OSError):
        return f"{exc.filename or 'the address'}: {exc.strerror}"
    return str(exc)
