"""Every check, one after the other, whatever the others found."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.access import load_rbac
from app.doctor import host, remote
from app.doctor.finding import Finding, failed
from app.errors import ConfigServerError, SettingsError
from app.services import Services
from app.settings import Settings


def findings() -> Iterator[Finding]:
    """Everything about the server of the environment's settings."""
    try:
        settings = Settings.from_env()
    except SettingsError as problems:
        for problem in problems.problems:
            yield failed("settings", problem, "See docs/settings.md. Nothing else is tried until all are right.")
        return
    yield from host.traps(settings)
    for check in (host.programs, host.disk, host.descriptors):
        yield from check(settings)
    with tempfile.TemporaryDirectory(prefix="config-server-") as directory:  # a running server's stays as it is
        yield from _elsewhere(replace(settings, data_dir=Path(directory), audit_dir=None))


def _elsewhere(settings: Settings) -> Iterator[Finding]:
    try:
        services = Services(settings, CollectorRegistry())
        issuers, backend, link = services.issuers, services.vault, services.link
        if settings.rbac_file is not None:
            load_rbac(settings.rbac_file)
    except (ConfigServerError, ValueError, OSError) as exc:
        text = f"{Path(exc.filename).name}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        yield failed("settings", text, "See docs/settings.md.")
        return
    try:
        yield from remote.git(settings, services.git_credentials)
        yield from remote.further(settings, services.further.described)
        yield from remote.vault(settings, backend)
        yield from remote.bus(link)
        yield from remote.keys(issuers)
        yield from remote.clocks(settings)
    finally:
        services.metrics.close()
        if backend is not None:
            backend.close()
        if link is not None:
            link.close()
