"""Reads what `git push --porcelain` tells: pushed, moved meanwhile, or rejected in the remote's own words. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.observability.redaction import printable, redact_text

#: Wordings for "the branch is not where you think", of Git's own lease and of remotes that compare and set.
_MOVED = re.compile(
    r"stale info|fetch first|non-fast-forward|cannot lock ref|failed to update ref|incorrect old value"
    r"|reference already"
)
#: What a remote's words may hold that no caller should see: addresses, and who logs in where.
_ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://\S+|\b[\w.+-]+@[\w.-]+(?::\S*)?")
_NOISE = re.compile(r"^(Enumerating|Counting|Compressing|Writing|Resolving|Total|Delta)\b|^\s*$")
_MAX_LINES, _MAX_LINE = 20, 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a push ended. `words` are the remote's reason, safe to show; None when it said nothing about the ref.

    `sent`: the remote was reached and the exchange had begun, so without a verdict nobody knows.
    """

    pushed: bool = False
    moved: bool = False
    words: str | None = None
    sent: bool = False


def verdict_of(output: str, errors: str) -> Verdict:
    """From standard output (`<flag>TAB<from>:<to>TAB<summary> (<reason>)`, git-push(1)) and the error output."""
    for line in output.splitlines():
        flag, tab, rest = line.partition("\t")
        if not tab or len(flag) != 1:
            continue
        if flag != "!":
            return Verdict(pushed=True, sent=True)
        summary = rest.partition("\t")[2]
        if _MOVED.search(summary) or _MOVED.search(_remote(errors)):
            return Verdict(moved=True, sent=True)
        if "remote failure" in summary or "failed to report" in summary:
            return Verdict(sent=True)
        return Verdict(words=_words(summary, errors), sent=True)
    return Verdict(sent="To " in output)


def _remote(errors: str) -> str:
    return "\n".join(line for line in errors.splitlines() if line.startswith(("remote: error: ", "error: ")))


def _words(summary: str, errors: str) -> str:
    """The reason in parentheses, then what the remote printed, bounded and without addresses."""
    reason = re.search(r"\((.*)\)\s*$", summary)
    said = [line.removeprefix("remote:").strip() for line in errors.splitlines() if line.startswith("remote:")]
    lines = [reason[1] if reason else summary, *(line for line in said if not _NOISE.match(line))]
    return "; ".join(shown(line) for line in lines[:_MAX_LINES])


def shown(text: str) -> str:
    """One line of the remote's for a reader: no address, no credential, no control character, bounded."""
    return printable(_ADDRESS.sub("[address]", redact_text(text)), _MAX_LINE)
