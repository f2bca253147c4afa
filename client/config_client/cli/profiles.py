"""Where the server is and where the token comes from: options, environment, or a profile that `login` has stored."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config_client.run import write_private
from config_client.tokens import checked

KINDS = ("command", "file", "env")


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and where its token comes from: `kind` of KINDS and what to run, read or look up. Never the token."""

    server: str
    kind: str
    source: str

    def token(self) -> str:
        """Raises ValueError, OSError."""
        if self.kind == "env":
            return checked(os.environ.get(self.source, ""))
        if self.kind == "file":
            return checked(Path(self.source).expanduser().read_text(encoding="utf-8"))
        done = subprocess.run(self.source, shell=True, capture_output=True, text=True, check=False)  # noqa: S602 - theirs
        if done.returncode:
            raise ValueError(f"the token's command ended with {done.returncode}: {done.stderr.strip()[:300]}")
        return checked(done.stdout)


def directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "configctl"


def stored() -> Mapping[str, Profile]:
    """By name. Raises ValueError for a file that is none of ours."""
    file = directory() / "profiles.toml"
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        return {name: Profile(each["server"], each["kind"], each["source"]) for name, each in tables.items()}
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged; remove it and log in again") from error


def store(name: str, profile: Profile) -> Path:
    """Beside the others, for the owner alone."""
    profiles = {**stored(), name: profile}
    place = directory()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    quoted = partial(json.dumps, ensure_ascii=False)  # such a text is a basic string of TOML too
    lines = [
        f"[{quoted(each)}]\nserver = {quoted(one.server)}\nkind = {quoted(one.kind)}\nsource = {quoted(one.source)}\n"
        for each, one in profiles.items()
    ]
    write_private(place / "profiles.toml", "\n".join(lines))
    return place / "profiles.toml"


def chosen(server: str, token_file: Path | None, name: str) -> Profile:
    """Options before environment before profile. Raises ValueError telling what is missing."""
    profile = stored().get(name)
    server = server or (profile.server if profile else "")
    if not server:
        raise ValueError("which server? --server URL, CONFIG_CLIENT_URL, or: configctl login --server URL")
    if token_file is not None:
        return Profile(server, "file", str(token_file))
    if os.environ.get("CONFIG_CLIENT_TOKEN_FILE"):
        return Profile(server, "file", os.environ["CONFIG_CLIENT_TOKEN_FILE"])
    if os.environ.get("CONFIG_CLIENT_TOKEN"):
        return Profile(server, "env", "CONFIG_CLIENT_TOKEN")
    if profile is None:
        raise ValueError("which token? --token-file FILE, CONFIG_CLIENT_TOKEN, or: configctl login")
    return Profile(server, profile.kind, profile.source)
