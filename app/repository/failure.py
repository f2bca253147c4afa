"""Reads what a failing Git wrote: a reason that is safe to show, and whether our own clone is to blame. Pure.

Git's words name URLs, users and paths of this machine, so none of them is ever passed on.
"""

from __future__ import annotations

import re

_DISK = r"no space left|disk quota|read-only file system|unable to create|insufficient permission"

#: The first match counts; special cases stand before general ones.
_REASONS = (
    (_DISK, "the clone cannot be written: the disk is full or refuses it"),
    (r"(response|code) 40\d from proxy|tunnel failed", "the proxy refuses"),
    (r"could not resolve (host|proxy)|name or service not known", "the host of the repository is unknown"),
    (r"connection refused", "the host of the repository refuses the connection"),
    (r"no route to host|network is unreachable", "the host of the repository cannot be reached"),
    (r"host key verification failed", "the host key of the repository is not a known one"),
    (r"certificate|ssl|gnutls", "the certificate of the repository's host does not verify"),
    (r"could not read (username|password)|terminal prompts disabled", "the repository asks for a login"),
    (r"authentication failed|permission denied|error: 40[13]|access denied", "the repository refuses the login"),
    (r"error: 404|not found|does not appear to be a git repository|does not exist", "there is no such repository"),
    (r"transport '.*' not allowed", "the repository redirects to another protocol"),
    (r"timed out|too slow|low speed|operation too slow", "the repository does not answer"),
    (r"early eof|hung up|remote end|connection reset|http/|error: 5\d\d", "the repository broke off the connection"),
)

_DAMAGE = re.compile(
    r"fatal: not a git repository|bad config|corrupt|bad (object|tree|pack|signature|revision)|broken (ref|link)"
    r"|(missing|invalid|lost|parse) (blob|tree|commit|object)|(read|unpack|parse) (tree |[a-z ]*)?[0-9a-f]{40}"
    r"|packfile .* cannot be|did not send all necessary|inflate:|index file|failed to traverse|packed-refs"
)


def reason_of(errors: str, status: int) -> str:
    """Why a command that talks to the remote failed, from what it wrote to its error output."""
    text = errors.lower()
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    return f"git failed with status {status}"


def looks_damaged(errors: str) -> bool:
    """Whether these are words of Git about objects or files of its own repository, which a new clone would mend."""
    text = "\n".join(line for line in errors.lower().splitlines() if not line.startswith("remote:"))
    return bool(_DAMAGE.search(text)) and not no_room(errors)


def no_room(errors: str) -> bool:
    """Whether the disk is to blame: a new clone would fail in the same way."""
    return bool(re.search(_DISK, errors.lower()))
