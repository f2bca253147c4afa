"""A real OpenID provider: npm's oidc-provider, in a process of its own, on a loopback port."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

import httpx

from devstack.processes import end, free_port

HERE = Path(__file__).parent
#: Newer than Debian's, which the library does not run on.
NODE = HERE / "node_modules" / "node" / "bin" / "node"
SECRET = "a-secret-of-the-tests"


def install() -> None:
    """What package-lock.json says, once for each checkout."""
    if not NODE.exists():
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=110)


class OidcProvider:
    """Knows the client `pay`, which may ask for tokens of our audience."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [str(NODE), str(HERE / "provider.mjs"), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._hear("ready")
        return self

    def token(self, scope: str) -> str:
        """An access token by the client's own credentials (RFC 6749, section 4.4)."""
        form = {"grant_type": "client_credentials", "scope": scope}
        url, login = f"{self.issuer}/token", ("pay", SECRET)
        answer = httpx.post(url, data=form, auth=login, trust_env=False, timeout=30).raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def rotate(self) -> None:
        """Sign with a new key; the former one stays published."""
        self._say("rotate")

    def replace(self) -> None:
        """Sign with a new key, and publish no other."""
        self._say("replace")

    def close(self) -> None:
        end(self._process, timeout=30)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _say(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()
        self._hear("done")

    def _hear(self, word: str) -> None:
        """Wait for the word; the library has things to say of its own."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.decode().strip() == word:
                return
        raise RuntimeError(f"the provider ended before it said {word!r}")
