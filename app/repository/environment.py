"""The environment that every Git process of ours gets: which protocol, which credentials, and nothing of the user's."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PROTOCOLS = ("file", "https", "http", "ssh", "git")
#: Names the mirror a process works for, so that a successor can tell a left-over process of ours from a stranger's.
MARKER = "MIRROR_OF"
#: Larger files pass through Git in pieces instead of its memory. Nothing of that size is configuration.
_STREAMED = ("core.bigFileThreshold", "2m")

# Read at the time of use, so a rotated password needs no restart. `printf` is built into the shell: the password is on
# no command line. Scoped to one host by its configuration key, so a redirect to another host is not answered.
_HELPER = (
    '!f() { test "$1" = get && test -r "$MIRROR_PASSWORD_FILE" && '
    'printf \'username=%s\\npassword=%s\\n\' "$MIRROR_USERNAME" "$(tr -d \'\\r\\n\' < "$MIRROR_PASSWORD_FILE")"; }; f'
)
# What the server's own environment must not bring in: Git's switches, and secrets that are none of Git's business.
_NOT_INHERITED = ("GIT_", "CONFIG_SERVER_", "SSH_ASKPASS", "MIRROR_")


@dataclass(frozen=True, slots=True)
class GitCredentials:
    """How to log in to the remote: user and password file for http(s), key for ssh; files are read at each use."""

    username: str | None = None
    password_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None
    ca_file: Path | None = None


def protocol_of(url: str) -> str:
    """The protocol of a Git URL: file (plain paths too), https, http, ssh (also `host:path`) or git.

    Raises ValueError, with a text that does not repeat the URL, for other protocols (`ext::` runs commands), for a
    password inside the URL (it would show in process lists), and for what Git could take for an option.
    """
    if not url or url.startswith("-") or not url.isprintable():
        raise ValueError("the repository URL is empty, starts with '-', or holds control characters")
    protocol = _protocol(url)
    if protocol not in PROTOCOLS:
        raise ValueError(f"the repository URL must be a path or one of {', '.join(PROTOCOLS)}")
    if "://" in url and urlsplit(url).password is not None:
        raise ValueError("the repository URL must not hold a password; give it as a password file")
    return protocol


def _protocol(url: str) -> str:
    if match := re.match(r"([A-Za-z0-9+.-]+)://", url):
        return match[1].lower()
    before_slash = url.partition("/")[0]
    if "::" in before_slash:
        return before_slash.partition("::")[0] + "::"
    return "ssh" if ":" in before_slash else "file"


def local_environment(mirror: Path) -> dict[str, str]:
    """What a Git process needs that only reads or writes `mirror`: no network, no configuration but ours."""
    return _inherited() | _overrides(mirror) | _config([("safe.directory", str(mirror))])


def reader_environment(mirror: Path) -> dict[str, str]:
    """What GitPython adds to the server's own environment; names what would otherwise be inherited from it."""
    return local_environment(mirror) | {
        "GIT_COMMON_DIR": str(mirror),
        "GIT_OBJECT_DIRECTORY": str(mirror / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_CONFIG_PARAMETERS": "",
    }


def network_environment(
    mirror: Path, url: str, credentials: GitCredentials, timeout: float, *, writing: bool = False
) -> dict[str, str]:
    """What a Git process needs that talks to the remote `origin`, which is `url`. `timeout` is in seconds."""
    protocol = protocol_of(url)
    config = [("safe.directory", str(mirror)), ("remote.origin.url", absolute(url))]
    if protocol == "file":
        # The operator named this directory; Git's check of its owner would refuse it when another user owns it, and
        # the settings of this process do not reach upload-pack.
        config.append(("remote.origin.uploadpack", "git -c safe.directory='*' upload-pack"))
        if writing:
            config.append(("remote.origin.receivepack", "git -c safe.directory='*' receive-pack"))
    if credentials.ca_file:
        config.append(("http.sslCAInfo", str(credentials.ca_file)))
    if credentials.password_file and protocol in ("http", "https"):
        config.append((f"credential.{protocol}://{_host(url)}.helper", _HELPER))
    return (
        _inherited()
        | _overrides(mirror)
        | _config(config)
        | {
            "GIT_ALLOW_PROTOCOL": protocol,
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": str(max(1, int(timeout))),
            "GIT_SSH_COMMAND": _ssh(credentials, timeout),
            "GIT_SSH_VARIANT": "ssh",
            "MIRROR_USERNAME": credentials.username or _user(url) or "git",
            "MIRROR_PASSWORD_FILE": str(credentials.password_file or ""),
        }
    )


def absolute(url: str) -> str:
    """A plain path made absolute, as Git runs in another directory; any other URL as it is."""
    return os.path.abspath(url) if _protocol(url) == "file" and "://" not in url else url


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def _overrides(mirror: Path) -> dict[str, str]:
    return {
        "GIT_DIR": str(mirror),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",  # set and empty: Git then asks no SSH_ASKPASS either
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_DEFAULT_HASH": "sha1",
        "GIT_DEFAULT_REF_FORMAT": "files",
        "LC_ALL": "C",
        "LANGUAGE": "C",
        MARKER: str(mirror.parent),
    }


def _config(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Settings by environment (git-config(1), GIT_CONFIG_COUNT): on no command line and in no file."""
    numbered = list(enumerate([("core.hooksPath", "/dev/null"), ("gc.autoDetach", "false"), _STREAMED, *pairs]))
    keys = {f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in numbered}
    values = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered}
    return {"GIT_CONFIG_COUNT": str(len(numbered)), **keys, **values}


def _ssh(credentials: GitCredentials, timeout: float) -> str:
    words = ["ssh", "-oBatchMode=yes", f"-oConnectTimeout={max(1, int(timeout))}", "-oControlPath=none"]
    if credentials.known_hosts_file:
        # Quoted for ssh as well, which splits this option at blanks.
        words += ["-oStrictHostKeyChecking=yes", f'-oUserKnownHostsFile="{credentials.known_hosts_file}"']
    if credentials.ssh_key_file:
        words += ["-oIdentitiesOnly=yes", "-i", str(credentials.ssh_key_file)]
    return shlex.join(words)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _user(url: str) -> str | None:
    return urlsplit(url).username
