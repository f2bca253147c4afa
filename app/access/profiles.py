"""How an operator describes an issuer: one by the settings, or several in a TOML file, each with rules of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from app.access.fetch import checked_url
from app.access.jwk import ALGORITHMS

_SOURCES = ("jwks_url", "public_key_file", "discovery")


class IssuersError(ValueError):
    """The file describes no issuers. `problems` lists every fault, in the file's order."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerProfile:
    """One issuer as written down: whose tokens, for whom, where its keys are, and what its claims are called.

    Exactly one of `jwks_url`, `public_key_file` and `discovery` says where the keys are. `ca_file` and `token_file` are
    for fetching them from a server with a certificate authority, and a login, of its own.
    """

    issuer: str = ""
    audience: tuple[str, ...] = ()
    jwks_url: str | None = None
    public_key_file: Path | None = None
    discovery: bool = False
    ca_file: Path | None = None
    token_file: Path | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_seconds: float = 30
    max_lifetime_seconds: float = 86_400
    permission_claims: tuple[str, ...] = ("scope", "scp", "permissions", "roles")
    service_claim: str | None = "service"
    env_claim: str | None = None


def load_issuers(path: Path, defaults: IssuerProfile) -> tuple[IssuerProfile, ...]:
    """The `[[issuer]]` tables of a TOML file; what one does not say is as in `defaults`.

    Raises IssuersError with everything that is wrong in it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IssuersError([f"cannot be read: {error.strerror}"]) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise IssuersError([f"is not TOML: {error}"]) from error
    entries = document.get("issuer")
    problems = [f"{key}: unknown, only [[issuer]] is" for key in document if key != "issuer"]
    if not isinstance(entries, list) or not entries:
        raise IssuersError([*problems, "must hold at least one [[issuer]]"])
    for number, entry in enumerate(entries, 1):
        problems += [f"issuer {number}: {problem}" for problem in _problems(entry)]
    if problems:
        raise IssuersError(problems)
    profiles = tuple(_profile(entry, defaults) for entry in entries)
    if len({profile.issuer for profile in profiles}) != len(profiles):
        raise IssuersError(["two tables describe the same issuer"])
    return profiles


def _profile(entry: Mapping[str, Any], defaults: IssuerProfile) -> IssuerProfile:
    return replace(defaults, **{name: _READ.get(name, _as_it_is)(value) for name, value in entry.items()})


def _problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be written [[issuer]]"
        return
    try:
        _ENTRY.load(entry)
    except ValidationError as wrong:
        yield from (f"{name}: {_text(told)}" for name, told in wrong.messages_dict.items())
    if sum(bool(entry.get(name)) for name in _SOURCES) != 1:
        yield "give exactly one of jwks_url, public_key_file, discovery = true"
    elif (entry.get("ca_file") or entry.get("token_file")) and entry.get("public_key_file"):
        yield "ca_file and token_file are for fetching keys"
    elif entry.get("token_file") and not str(entry.get("jwks_url", "")).startswith("https://"):
        yield "token_file needs a jwks_url with https, so that the token goes nowhere else"


def _text(told: object) -> str:
    if isinstance(told, list):
        return " ".join(map(str, told))
    return " ".join(f"{_text(each)}" for each in told.values()) if isinstance(told, dict) else str(told)


def _is_url(text: str) -> None:
    try:
        checked_url(text)
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from wrong


def _is_file(text: str) -> None:
    if not Path(text).is_file():
        raise ValidationError("no such file")


_name = validate.Length(1, 1024)


class _Entry(Schema):
    class Meta:
        unknown = RAISE

    issuer = fields.String(required=True, validate=_name)
    audience = fields.List(fields.String(validate=_name), required=True, validate=validate.Length(1))
    jwks_url = fields.String(validate=_is_url)
    public_key_file = fields.String(validate=_is_file)
    discovery = fields.Boolean(truthy={True}, falsy={False})
    ca_file = fields.String(validate=_is_file)
    token_file = fields.String(validate=_is_file)
    algorithms = fields.List(fields.String(validate=validate.OneOf(list(ALGORITHMS))), validate=validate.Length(1))
    leeway_seconds = fields.Float(allow_nan=False, validate=validate.Range(0))
    max_lifetime_seconds = fields.Float(allow_nan=False, validate=validate.Range(0, min_inclusive=False))
    permission_claims = fields.List(fields.String(validate=_name), validate=validate.Length(1))
    service_claim = fields.String(validate=_name)
    env_claim = fields.String(validate=_name)


_ENTRY = _Entry()


def _as_it_is(value: Any) -> Any:
    return value


_READ = {
    **dict.fromkeys(("audience", "algorithms", "permission_claims"), tuple),
    **dict.fromkeys(("public_key_file", "ca_file", "token_file"), Path),
}
