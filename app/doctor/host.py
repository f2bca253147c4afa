"""What the machine offers: programs, disk, descriptors; and settings that are legal and yet a trap."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.doctor.finding import Finding, failed, ok, warning
from app.settings import Settings

#: Connections beside streams, and files of the worker itself (config/gunicorn.conf.py has the same two).
_BESIDE_STREAMS = 1500
_TOO_LITTLE, _LITTLE = 100 * 2**20, 2**30  # bytes
_OLDEST_GIT = (2, 34)


def programs(_settings: Settings) -> Iterator[Finding]:
    """Git, and a version whose switches we use."""
    remedy = f"Install Git {'.'.join(map(str, _OLDEST_GIT))} or later."
    try:
        words = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        yield failed("programs", "git cannot be run", remedy)
        return
    name = words.stdout.split()[2]
    version = tuple(int(part) for part in name.split(".")[:2])
    yield ok("programs", f"git {name}") if version >= _OLDEST_GIT else failed("programs", f"git {name} is old", remedy)


def disk(settings: Settings) -> Iterator[Finding]:
    """DATA_DIR and AUDIT_DIR can be written, and have room."""
    for name, path in {"DATA_DIR": settings.data_dir, "AUDIT_DIR": settings.audit_path}.items():
        yield _directory(f"CONFIG_SERVER_{name}", _nearest(path))


def _directory(name: str, path: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"doctor")
            file.flush()
        usage = shutil.disk_usage(path)
    except OSError as exc:
        return failed("disk", f"{name}: {path} cannot be written: {exc.strerror}", f"chown it to user {os.getuid()}.")
    text = f"{name}: {path} can be written, {usage.free // 2**20} MiB free"
    if usage.free < _LITTLE:
        low = failed if usage.free < _TOO_LITTLE else warning
        return low("disk", text, "Make room: mirror, history and audit trail grow there.")
    return ok("disk", text)


def _nearest(path: Path) -> Path:
    """`path`, or where it will be made."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def descriptors(settings: Settings) -> Iterator[Finding]:
    """The hard limit, to which the server raises its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.streams_per_worker + _BESIDE_STREAMS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        remedy = f"Allow {wanted} (LimitNOFILE=, --ulimit nofile=), or set CONFIG_SERVER_STREAMS_PER_WORKER lower."
        text = f"a process may open {hard} files; {settings.streams_per_worker} streams need {wanted}"
        yield warning("files", text, remedy)
    else:
        yield ok("files", f"{settings.streams_per_worker} streams for each worker are allowed")


def traps(settings: Settings) -> Iterator[Finding]:
    """Settings that make a server, and not the one that was meant."""
    yield ok("settings", "complete, and none contradicts another")
    if not settings.envs:
        text = "CONFIG_SERVER_ENVS is empty: any env exists, and `pay-admin` in `prod` reads files of `pay`"
        yield warning("settings", text, "List the envs that there are.")
    if settings.redis_url is None:
        text = "without CONFIG_SERVER_REDIS_URL there is one worker, on one host"
        yield warning("settings", text, "Right for a small team; else give it a Redis.")
    if not (settings.webhook_secret or settings.webhook_secret_file):
        text = f"no webhook: a push is seen within {settings.poll_seconds:g} s"
        yield warning("settings", text, "Set CONFIG_SERVER_WEBHOOK_SECRET_FILE, and let the Git server call.")
