"""Takes secrets out of whatever is about to be written: by the name of a key and by the look of a value."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final

REDACTED: Final = "[redacted]"

#: Longest string of an event; longer ones are cut (a stack keeps its own, larger limit in logs.py).
MAX_STRING: Final = 4096
#: A string is cut to this before the patterns run over it, so that an error message of megabytes costs milliseconds.
_MAX_SCANNED: Final = 65_536
_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 100

_SMELLS = re.compile(
    r"authorization|passw|passphrase|cookie|credential|private[-_ ]?key|api[-_ ]?key|secret|token|ticket|jwt", re.I
)
#: `secret_path` or `token_type` name a thing about a secret. `secret_id` is one (Vault's AppRole).
_HARMLESS = re.compile(r"[-_.](path|paths|version|versions|count|file|seconds|ttl|type|age|total|status|labels)$", re.I)

_STRONG_WORDS = (
    r"(?:[\w-]*(?:passw(?:or)?d|passphrase|secret[-_]?id|client[-_]?secret|api[-_]?key|private[-_]?key"
    r"|(?:vault|access|refresh|id|auth|bearer)[-_]?token|credentials?|cookie))"
)
_WEAK_WORDS = r"(?:[\w-]*(?:token|secret|ticket|jwt))"
#: Paths below /v1/ that are our own routes; any other is an address in Vault, which stays out of the logs.
_OWN_ROUTES = r"config|history|diff|stream|events|tickets|acks|admin"

_VAULT_PATH = re.compile(rf"/v1/(?!\[|(?:{_OWN_ROUTES})\b)[^\s\"'),;\\]+")

#: (pattern, replacement), applied in this order. Every pattern is linear: no nested repetition.
_PATTERNS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), REDACTED),
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}"), REDACTED),
    (re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{4,}"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9_])[sbr]\.[A-Za-z0-9_-]{20,}"), REDACTED),
    (re.compile(r"\bticket\.[A-Za-z0-9_-]{8,}", re.I), "ticket." + REDACTED),
    (re.compile(r"((?::|%3A)(?://|%2F%2F))[^\s/\"'<>]{1,1024}(?:@|%40)", re.I), rf"\1{REDACTED}@"),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+\s+)?)[^\s\"',;}]+", re.I), rf"\1{REDACTED}"),
    (re.compile(r"\b((?:bearer|basic|ticket)\s+)[A-Za-z0-9._~+/=-]{16,}", re.I), rf"\1{REDACTED}"),
    (re.compile(rf"\b({_STRONG_WORDS}[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;}}]+", re.I), rf"\1{REDACTED}"),
    (re.compile(rf"\b({_WEAK_WORDS}(?:[\"']\s*:\s*[\"']?|=|%3D))[^\s\"'&,;}}]+", re.I), rf"\1{REDACTED}"),
    (_VAULT_PATH, "/v1/[vault-path]"),
)

#: Lower-case pieces of which a line must hold one before any pattern can match (`in` costs 50 ns, a pattern 20 µs).
_TRIGGERS: Final = (
    "eyj", "hvs.", "hvb.", "hvr.", "://", "%2f%2f", "authorization", "passw", "passphrase", "cookie",
    "credential", "secret", "token", "ticket", "jwt", "bearer", "basic", "key",
)  # fmt: skip
_SHORT_TOKEN = re.compile(r"[sbr]\.[A-Za-z0-9_-]{20}")

#: Control characters, and the invisible ones that reorder or hide text (Unicode TR 36, bidirectional spoofing).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def suspicious(line: str) -> bool:
    """Whether `line` could hold anything that `redact_text` or `secret_key` would change. Cheap; errs towards yes."""
    lowered = line.lower()
    for trigger in _TRIGGERS:
        if trigger in lowered:
            return True
    return _SHORT_TOKEN.search(line) is not None or _VAULT_PATH.search(line) is not None


@functools.lru_cache(maxsize=1024)
def secret_key(key: str) -> bool:
    """Whether a value under this key is secret by its name (`authorization`, `x-vault-token`, `db.password`)."""
    return bool(_SMELLS.search(key)) and not _HARMLESS.search(key)


def redact_text(text: str) -> str:
    """`text` without tokens, passwords, private keys, credentials in URLs and addresses in Vault."""
    text = text[:_MAX_SCANNED]
    if not suspicious(text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def shortened(text: str, limit: int = MAX_STRING) -> str:
    """`text` of at most `limit` characters and a note of how many were left out."""
    return text if len(text) <= limit else f"{text[:limit]}…[{len(text) - limit} more]"


def redact(value: object, depth: int = 0) -> object:
    """A copy of `value` made of JSON types, redacted by key and by look, bounded in depth, width and length."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return shortened(redact_text(value))
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            redact_text(name): REDACTED if secret_key(name) and item is not None else redact(item, depth + 1)
            for name, item in ((str(key), item) for key, item in list(value.items())[:_MAX_ITEMS])
        }
    if isinstance(value, list | tuple):
        return [redact(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return redact(as_json(value), depth)


def as_json(value: object) -> str | list[str]:
    """What stands in a line for a value that JSON does not know."""
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def printable(text: str, limit: int = 300) -> str:
    r"""`text` for a reader: control, bidirectional and other invisible characters as visible `\uXXXX`, and cut.

    Used for names from outside that are kept (audit), so that no later viewer shows a forged line.
    """
    visible = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text[:limit])
    return visible if len(text) <= limit and len(visible) <= limit else f"{visible[:limit]}…"
