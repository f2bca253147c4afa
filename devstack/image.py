"""Does what the Dockerfile says where there is no container engine: in plain directories, by debootstrap and chroot.

`python -m devstack.engine DIRECTORY` leads here where there is none, as root on Debian. Every stage is built, and the
outcome is started as the image would be run (its user, a read-only root, tmpfs where the documentation asks for one) on
a sample repository: its own health check must be content, and it must say that it is ready, and end with 0.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.processes import free_port
from devstack.server import ROOT

SUITE = "bookworm"
#: Of the machine, for the building alone: who answers to which name, where Debian is, and whom TLS trusts.
MACHINES = ("/etc/resolv.conf", "/etc/hosts", "/etc/apt/sources.list.d/debian.sources")
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
#: What an image writes to when its root is read-only (docs/deployment.md).
WRITABLE = ("/tmp", "/dev/shm", "/var/lib/config-server")  # noqa: S108 - of the image


@dataclass(slots=True)
class Stage:
    """A root directory, and what the Dockerfile has set for it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def call(self, arguments: Sequence[str], *, user: str = "0:0") -> list[str]:
        """The command line that runs `arguments` in here."""
        path = self.env.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        env = [f"{name}={value}" for name, value in {**self.env, "PATH": path}.items()]
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', self.directory, *arguments]
        return ["chroot", f"--userspec={user}", str(self.root), "/usr/bin/env", "-i", *env, *inside]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined and comments dropped."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest


def health_command(rest: str) -> list[str]:
    """Of a HEALTHCHECK."""
    return list(json.loads(rest.partition(" CMD ")[2]))


def build(directory: Path) -> Stage:
    """Every stage of the Dockerfile; the last one. Raises CalledProcessError when a step fails."""
    stages: dict[str, Stage] = {}
    stage = Stage(directory)
    for word, rest in instructions((ROOT / "Dockerfile").read_text()):
        print(f"{word} {rest[:100]}", flush=True)
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            stage = stages[name] = Stage(_base(directory, name))
        elif word == "RUN":
            with mounted(stage.root):
                subprocess.run(stage.call(["env", "PIP_CERT=/trusted.pem", "sh", "-c", rest]), check=True)
        elif word == "COPY":
            _copy(stage, stages, rest)
        else:
            _set(stage, word, rest)
    return stage


def _base(directory: Path, name: str) -> Path:
    """A copy of the bare distribution, made once."""
    bare, root = directory / "bare", directory / name
    if not bare.exists():
        subprocess.run(["debootstrap", "--variant=minbase", SUITE, str(bare)], check=True)
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "--archive", str(bare), str(root)], check=True)
    for file in filter(lambda each: Path(each).exists(), MACHINES):
        (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file[1:])
    shutil.copy(TRUSTED, root / "trusted.pem")
    return root


def _copy(stage: Stage, stages: dict[str, Stage], rest: str) -> None:
    words = shlex.split(rest)
    origin = stages[words.pop(0).removeprefix("--from=")].root if words[0].startswith("--from=") else ROOT
    *sources, target = words
    into = stage.root / target[1:]
    for source in sources:
        found = origin / source.lstrip("/")
        if found.is_dir():
            shutil.copytree(
                found, into, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            place = into / found.name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place)


def _set(stage: Stage, word: str, rest: str) -> None:
    if word == "ENV":
        stage.env |= dict(each.split("=", 1) for each in shlex.split(rest))
    elif word == "WORKDIR":
        stage.directory = rest
    elif word == "USER":
        stage.user = rest
    elif word in {"ENTRYPOINT", "CMD"}:
        setattr(stage, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[word], json.loads(rest))
    elif word == "HEALTHCHECK":
        stage.health = health_command(rest)
    elif word not in {"LABEL", "VOLUME", "EXPOSE", "STOPSIGNAL"}:
        raise ValueError(f"an instruction that is not known here: {word}")


@contextmanager
def mounted(root: Path, *, read_only: bool = False) -> Iterator[None]:
    """/proc and /dev in the root; with `read_only` all of it is, but for memory where it must be writable."""
    with ExitStack() as stack:

        def mount(*arguments: str, at: str) -> None:
            subprocess.run(["mount", *arguments, at], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", at], check=True)

        if read_only:
            mount("--bind", str(root), at=str(root))
            subprocess.run(["mount", "-o", "remount,bind,ro", str(root)], check=True)
        mount("--rbind", "/dev", at=f"{root}/dev")
        mount("-t", "proc", "proc", at=f"{root}/proc")
        for place in WRITABLE if read_only else ():
            mount("-t", "tmpfs", "-o", whose(place), "tmpfs", at=f"{root}{place}")
        yield


def whose(place: str) -> str:
    """How a tmpfs of WRITABLE is mounted."""
    return "uid=10001,gid=10001" if place.startswith("/var") else "mode=1777"


def tried(stage: Stage, directory: Path) -> bool:
    """Run it as docs/deployment.md says, on a repository of its own. Whether it became ready and ended with 0."""
    origin, port = repository_of(directory), free_port()
    with LocalIssuer() as issuer, mounted(stage.root, read_only=True):
        shutil.copytree(origin, stage.root / "tmp" / "origin.git")
        (stage.root / "tmp" / "key").write_text("k" * 40)
        stage.env |= settings_of(issuer, port, repository="/tmp/origin.git", key="/tmp/key")  # noqa: S108 - of the image
        process = subprocess.Popen(stage.call([*stage.entrypoint, *stage.command], user=stage.user))
        try:
            healthy = eventually(stage.call(stage.health, user=stage.user))
            ready = eventually(stage.call(["python", "-c", _READY.format(port=port)], user=stage.user))
        finally:
            process.terminate()
            code = process.wait(60)
    print(f"healthy: {healthy}, ready: {ready}, exit code: {code}")
    return healthy and ready and code == 0


_READY = "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health/ready', timeout=2)"


def repository_of(directory: Path) -> Path:
    """A bare repository with one file."""
    shutil.rmtree(directory / "origin", ignore_errors=True)  # of a former run
    origin = OriginRepo(directory / "origin")
    origin.write({"application.yml": "hello: world\n"})
    return origin.bare


def settings_of(issuer: LocalIssuer, port: int, *, repository: str, key: str) -> dict[str, str]:
    """The environment of a server in the image, with the places that it sees."""
    return {
        "CONFIG_SERVER_BIND": f"127.0.0.1:{port}",
        "CONFIG_SERVER_REPO_URL": repository,
        "CONFIG_SERVER_KEY_FILE": key,
        "CONFIG_SERVER_JWT_ISSUER": issuer.url,
        "CONFIG_SERVER_JWT_AUDIENCE": issuer.audience,
        "CONFIG_SERVER_JWT_JWKS_URL": issuer.jwks_url,
    }


def eventually(command: Sequence[str], *, timeout: float = 30) -> bool:
    deadline = time.monotonic() + timeout
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
