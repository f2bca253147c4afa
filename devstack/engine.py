"""Builds the image and runs it by docker or podman, where one works; elsewhere devstack/image.py takes the steps.

`python -m devstack.engine DIRECTORY` exits with 0 if what came of it is healthy and ends well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from devstack import image
from devstack.image import WRITABLE, eventually, instructions, repository_of, settings_of, whose
from devstack.issuer import LocalIssuer
from devstack.processes import free_port
from devstack.server import ROOT

DOCKERFILE = ROOT / "Dockerfile"
IMAGE = "config-server:tried"
CONTAINER = "config-server-tried"


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
    health = image.health_command(dict(instructions(DOCKERFILE.read_text()))["HEALTHCHECK"])
    with LocalIssuer() as issuer:
        mounts = {repository_of(directory): "/repository.git", key: "/key"}
        settings = settings_of(issuer, free_port(), repository="/repository.git", key="/key")
        process = subprocess.Popen(run_command(engine, mounts, settings))
        try:
            healthy = eventually([engine, "exec", CONTAINER, *health])
        finally:
            subprocess.run([engine, "stop", "--time=60", CONTAINER], check=False)
            code = process.wait(90)
    print(f"{engine}: healthy: {healthy}, exit code: {code}")
    return healthy and code == 0


def run_command(engine: str, mounts: Mapping[Path, str], settings: Mapping[str, str]) -> list[str]:
    """With a read-only root, and memory where it must be writable."""
    return [
        *(engine, "run", "--rm", f"--name={CONTAINER}", "--network=host", "--read-only"),
        *(f"--tmpfs={place}:{whose(place)}" for place in WRITABLE),
        *(f"--volume={path}:{place}:ro" for path, place in mounts.items()),
        *(f"--env={name}={value}" for name, value in settings.items()),
        IMAGE,
    ]


def main(directory: Path) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    engine = found()
    return tried(engine, directory) if engine else image.tried(image.build(directory), directory)


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1]).resolve()))
