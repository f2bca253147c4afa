"""Builds the image and runs it by docker or podman, where one works; elsewhere devstack/image.py takes the steps."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devstack.image import eventually, repository_of, settings_of
from devstack.issuer import LocalIssuer
from devstack.processes import free_port
from devstack.server import ROOT

IMAGE = "config-server:tried"
CONTAINER = "config-server-tried"
HEALTH = ("python", "config/healthcheck.py")


def found() -> str | None:
    """The engine of this machine, if it has one that works."""
    for name in ("docker", "podman"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, check=False).returncode:
            return name
    return None


def tried(engine: str, directory: Path) -> bool:
    """Build it, and run it as docs/deployment.md says. Whether it became healthy and ended with 0.

    Raises CalledProcessError when it cannot be built.
    """
    subprocess.run([engine, "build", "--tag", IMAGE, str(ROOT)], check=True)
    key = directory / "key"
    key.write_text("k" * 40)
    with LocalIssuer() as issuer:
        mounts = {repository_of(directory): "/repository.git", key: "/key"}
        settings = settings_of(issuer, free_port(), repository="/repository.git", key="/key")
        process = subprocess.Popen(run_command(engine, mounts, settings))
        try:
            healthy = eventually([engine, "exec", CONTAINER, *HEALTH])
        finally:
            subprocess.run([engine, "stop", "--time=60", CONTAINER], check=False)
            code = process.wait(90)
    print(f"{engine}: healthy: {healthy}, exit code: {code}")
    return healthy and code == 0


def run_command(engine: str, mounts: Mapping[Path, str], settings: Mapping[str, str]) -> list[str]:
    """With a read-only root, and memory where it must be writable."""
    writable = ("/tmp", "/var/lib/config-server:uid=10001,gid=10001")  # noqa: S108 - of the image
    return [
        *(engine, "run", "--rm", f"--name={CONTAINER}", "--network=host", "--read-only"),
        *(f"--tmpfs={place}" for place in writable),
        *(f"--volume={path}:{place}:ro" for path, place in mounts.items()),
        *(f"--env={name}={value}" for name, value in settings.items()),
        IMAGE,
    ]
