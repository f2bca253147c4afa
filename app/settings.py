"""What an operator may set: read once from the environment (CONFIG_SERVER_*), frozen, every problem told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields
from marshmallow.validate import Range

from app.effective import DEFAULT_ENV, SecretSources, checked_search_path
from app.errors import BadInput, SettingsError
from app.model import NAME, checked_label

PREFIX = "CONFIG_SERVER_"


#: Which paths of Vault a target may refer to, where nothing else is set.
SECRET_PATHS = (
    "services/{service}/{env}/**",
    "services/{service}/common/**",
    "shared/{env}/**",
    "shared/common/**",
)
TRANSIT_KEYS = ("{service}", "shared")


@dataclass(frozen=True, slots=True)
class Timings:
    """Every duration that is not a setting, in seconds. Tests run real servers on short ones."""

    follow: float = 0.25  # how often a worker looks at heads.json
    head_check: float = 3.0  # how often it reads the head from Redis whatever the bus says; 5 s are promised in all
    heartbeat: float = 20.0  # between two `sync` of an idle stream, +-10 %
    stream_write: float = 10.0  # a write blocked for longer closes the stream
    stream_age: float = 1800.0  # a stream is asked to come again after this, x0.8 to x1
    expiry_warning: float = 60.0  # a client is told so long before its token ends
    drain: float = 5.0  # goodbyes are spread over at least this
    lease: float = 60.0  # a stream of a worker that died counts for its client so long; renewed three times as often
    redis: float = 0.5  # timeout of one Redis call on the request path
    redis_pause: float = 2.0  # how long Redis is left alone after it failed
    vault_connect: float = 1.0
    vault_read: float = 2.0
    breaker_open: float = 5.0  # how long Vault is left alone after three failures in a row
    confirm_rewrite: float = 2.0  # a head that is no descendant must be seen twice, this far apart
    catch_up: float = 2.0  # how long a read waits for a rev that its caller has already seen
    retry_first: float = 1.0  # first pause after a failed fetch, doubled up to POLL_SECONDS
    hint_retries: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)  # fetch again after a webhook that brought nothing
    hook_retries: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # until an announced commit is there
    notice_retries: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0)  # a receiver that does not take a notice
    settle: float = 600.0  # a push that was broken off and has not arrived by then is held to have failed
    lock_retry: float = 1.0  # how often a worker tries to become the one that pulls
    audit_minute: float = 60.0  # like reads, and denials of who has no name, are one record in such a time
    keys_refresh: float = 300.0  # signing keys of the identity provider
    keys_min_interval: float = 10.0  # an unknown key id wakes the refresher at most this often
    audit_ship: float = 1.0  # how often new records are carried to Redis
    audit_anchor: float = 60.0  # how often the ends of the other chains are recorded
    keys_keep: float = 86_400.0  # known keys go on verifying while the provider is down


@dataclass(frozen=True, slots=True)
class Settings:
    """One server's settings; the names are those of the environment in lower case. See docs/settings.md."""

    repo_url: str
    jwt_issuer: str | None = None
    jwt_audience: tuple[str, ...] = ()
    default_label: str | None = None
    envs: tuple[str, ...] = ()
    search_paths: tuple[str, ...] = ("",)
    data_dir: Path = Path("/var/lib/config-server")
    poll_seconds: float = 30.0
    accept_empty: bool = True
    overrides_file: Path | None = None
    repositories_file: Path | None = None
    pin_days: float = 30.0
    namespace: str = "default"
    key_file: Path | None = None
    git_username: str | None = None
    git_password_file: Path | None = None
    git_ssh_key_file: Path | None = None
    git_known_hosts_file: Path | None = None
    git_ca_file: Path | None = None
    git_allowed_signers_file: Path | None = None
    git_timeout_seconds: float = 10.0
    git_clone_timeout_seconds: float = 600.0
    require_signed_commits: bool = False
    git_write: bool = False
    git_write_username: str | None = None
    git_write_password_file: Path | None = None
    git_write_ssh_key_file: Path | None = None
    redis_url: str | None = None
    bind: str = "0.0.0.0:8000"
    workers: int = 1
    vault_addr: str | None = None
    vault_auth_method: str = "approle"
    vault_auth_mount: str | None = None
    vault_role: str | None = None
    vault_jwt_file: Path | None = None
    vault_role_id: str | None = None
    vault_secret_id: str | None = field(default=None, repr=False)
    vault_secret_id_file: Path | None = None
    vault_secret_id_wrapped: bool = False
    vault_namespace: str | None = None
    vault_cacert: Path | None = None
    vault_service_token_role: str | None = None
    vault_mounts: Mapping[str, tuple[str, int]] = field(default_factory=lambda: {"kv": ("secret", 2)})
    vault_transit_mount: str = "transit"
    secret_paths: tuple[str, ...] = SECRET_PATHS
    transit_keys: tuple[str, ...] = TRANSIT_KEYS
    secret_labels: tuple[str, ...] = ()
    secret_sources: tuple[str, ...] = ()
    encrypt_key_file: Path | None = None
    encrypt_keys: tuple[str, ...] = ()
    decrypt_endpoint: bool = False
    secret_ttl_seconds: float = 60.0
    secret_grace_seconds: float = 900.0
    secret_watch_seconds: float = 30.0
    jwt_jwks_url: str | None = None
    jwt_public_key_file: Path | None = None
    jwt_discovery: bool = False
    jwt_algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwt_leeway_seconds: float = 30.0
    jwt_max_lifetime_seconds: float = 86_400.0
    issuers_file: Path | None = None
    jwt_permission_claims: tuple[str, ...] = ("scope", "scp", "permissions", "roles")
    service_claim: str = "service"
    env_claim: str | None = None
    unscoped_read: bool = False
    rbac_file: Path | None = None
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    auth_failures_per_minute: int = 100
    spring_prefix: str = "/spring"
    token_headers: tuple[str, ...] = ()
    continue_on_missing_label: bool = False
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_secret_file: Path | None = None
    notice_urls: tuple[str, ...] = field(default=(), repr=False)
    notice_secret: str | None = field(default=None, repr=False)
    notice_secret_file: Path | None = None
    metrics: str = "view"
    streams_per_worker: int = 10_000
    streams_per_instance: int = 4
    streams_per_subject: int = 0
    audit_dir: Path | None = None
    audit_file_mib: int = 64
    audit_stream_records: int = 20_000
    log_level: str = "info"
    log_reads_one_of: int = 1
    timings: Timings = Timings()

    def __post_init__(self) -> None:
        problems = [problem for _, problem in _contradictions(self)]
        if problems:
            raise SettingsError(problems)

    @property
    def may_write(self) -> bool:
        """Whether there are credentials to push with."""
        return self.git_write or self.git_write_password_file is not None or self.git_write_ssh_key_file is not None

    @property
    def audit_path(self) -> Path:
        return self.audit_dir or self.data_dir / "audit"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Read the environment; `given` (lower-case names) wins over it. Raises SettingsError listing every problem."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {"workers": _default_workers(environ)}
        wrong: dict[str, str] = {}
        for name, read in READERS.items():
            text = environ.get(PREFIX + name.upper(), "").strip()
            if name in given or not text:
                if name in REQUIRED - given.keys():
                    wrong[name] = f"{PREFIX}{name.upper()} is required"
                continue
            try:
                values[name] = read(text)
            except (ValidationError, ValueError) as exc:
                wrong[name] = f"{PREFIX}{name.upper()}: {_reason(exc)}"
        problems = [*wrong.values(), *_unknown(environ)]
        if problems:
            raise SettingsError([*problems, *_further({**values, **given}, wrong)])
        return cls(**{**values, **given})


def _further(values: Mapping[str, Any], wrong: Mapping[str, str]) -> Iterator[str]:
    """Contradictions among what could be read. One that leans on a setting that could not may be none: left out."""
    made = {each.name: each.default_factory() for each in dataclass_fields(Settings) if callable(each.default_factory)}
    defaults = {each.name: None if each.default is MISSING else each.default for each in dataclass_fields(Settings)}
    found = cast(Settings, SimpleNamespace(**{**defaults, **made, **values}))
    return (problem for names, problem in _contradictions(found) if not wrong.keys() & names)


def _default_workers(environ: Mapping[str, str]) -> int:
    return (os.cpu_count() or 1) if environ.get(PREFIX + "REDIS_URL") else 1


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """A misspelt setting must not be a silent default."""
    known = {PREFIX + name.upper() for name in (*READERS, *HANDED_DOWN)}
    for name in sorted(environ.keys() - known):
        if name.startswith(PREFIX):
            yield f"{name} is not a setting"


def _contradictions(settings: Settings) -> Iterator[tuple[frozenset[str], str]]:
    """Problems that only show when settings are looked at together: which, and what is wrong."""
    yield from _issuer_contradictions(settings)
    for env in settings.envs:
        if any(env.endswith(f"-{other}") for other in (*settings.envs, DEFAULT_ENV)):
            yield _among(("envs",), f"{{0}}: {env} ends like another env, so two services would share a file")
    if settings.redis_url and not settings.key_file:
        yield _among(("key_file", "redis_url"), "{0} is required with {1}: all workers must share one key")
    if settings.workers > 1 and not settings.redis_url:
        count = settings.workers
        yield _among(("workers", "redis_url"), f"{{0}}={count} needs {{1}}; without it everything runs in one worker")
    if settings.vault_addr:
        yield from _login_contradictions(settings)
    if settings.secret_sources and not settings.vault_addr:
        yield _among(("secret_sources", "vault_addr"), "{0} needs {1}")
    for alias in sorted(SecretSources(settings.secret_sources).aliases - settings.vault_mounts.keys()):
        yield _among(("secret_sources", "vault_mounts"), f"{{0}}: {alias!r} is none of {{1}}")
    if settings.secret_sources and settings.vault_service_token_role:
        names = ("secret_sources", "vault_service_token_role")
        yield _among(names, "{0} and {1} exclude each other: whole documents are read by the server itself")
    if settings.vault_secret_id_wrapped and settings.workers > 1:
        names = ("vault_secret_id_wrapped", "workers")
        yield _among(names, "{0} needs {1}=1: a wrapping token opens once, for one worker")
    for secret in ("webhook_secret", "notice_secret"):
        if getattr(settings, secret) and getattr(settings, f"{secret}_file"):
            yield _among((secret, f"{secret}_file"), "set one of {0}, {1}")
    if settings.notice_urls and not (settings.notice_secret or settings.notice_secret_file):
        yield _among(("notice_secret_file", "notice_urls"), "{0} is required with {1}: notices are signed")
    if settings.decrypt_endpoint and not (settings.encrypt_key_file or settings.vault_addr):
        yield _among(("decrypt_endpoint", "encrypt_key_file", "vault_addr"), "{0}=true needs {1} or {2}")
    if settings.encrypt_keys and not (settings.encrypt_key_file and settings.encrypt_key_file.is_dir()):
        yield _among(("encrypt_keys", "encrypt_key_file"), "{0} needs a directory of keys as {1}")
    own = ("git_write_username", "git_write_password_file", "git_write_ssh_key_file")
    if settings.git_write and any(getattr(settings, name) for name in own):
        yield _among(("git_write", *own), "{0}=true lets the credentials for reading write; unset it, or {1}, {2}, {3}")
    if settings.git_write_username and not settings.git_write_password_file:
        yield _among(own[:2], "{0} needs {1}")
    signed = ("require_signed_commits", "git_allowed_signers_file")
    if settings.require_signed_commits and not settings.git_allowed_signers_file:
        yield _among(signed, "{1} is required with {0}=true")
    if settings.require_signed_commits and (settings.git_write or any(getattr(settings, name) for name in own)):
        yield _among(
            (*signed, "git_write", *own), "{0}=true: the server's own commits are not signed; unset {2}, {3}, {4}, {5}"
        )
    for name in ("poll_seconds", "git_timeout_seconds", "git_clone_timeout_seconds", "secret_watch_seconds"):
        if getattr(settings, name) <= 0:
            yield _among((name,), "{0} must be more than 0")


def _issuer_contradictions(settings: Settings) -> Iterator[tuple[frozenset[str], str]]:
    """One issuer by settings, or a file with any number."""
    keys = ("jwt_jwks_url", "jwt_public_key_file", "jwt_discovery")
    names = ("jwt_issuer", "jwt_audience")
    if settings.issuers_file:
        for name in (*names, *keys):
            if getattr(settings, name):
                yield _among((name, "issuers_file"), "{0} belongs into {1}; unset it")
        return
    yield from (_among((name,), "{0} is required") for name in names if not getattr(settings, name))
    if sum(bool(getattr(settings, name)) for name in keys) != 1:
        yield _among(keys, "set exactly one of {0}, {1}, {2}=true")


def _login_contradictions(settings: Settings) -> Iterator[tuple[frozenset[str], str]]:
    """What each way of logging in to Vault needs, and what is none of its own."""
    by_secret = ("vault_role_id", "vault_secret_id", "vault_secret_id_file", "vault_secret_id_wrapped")
    by_token = ("vault_role", "vault_jwt_file")
    method = settings.vault_auth_method
    if method == "approle":
        if not settings.vault_role_id:
            yield _among(("vault_role_id", "vault_addr"), "{0} is required with {1}")
        if (settings.vault_secret_id is None) == (settings.vault_secret_id_file is None):
            yield _among((*by_secret[1:3], "vault_addr"), "set one of {0}, {1} with {2}")
    elif not settings.vault_role:
        yield _among(("vault_role", "vault_auth_method"), f"{{0}} is required with {{1}}={method}")
    if method == "jwt" and settings.vault_jwt_file is None:
        yield _among(("vault_jwt_file", "vault_auth_method"), "{0} is required with {1}=jwt")
    for name in by_token if method == "approle" else by_secret:
        if getattr(settings, name):
            yield _among((name, "vault_auth_method"), f"{{0}} means nothing with {{1}}={method}")


def _among(names: Sequence[str], text: str) -> tuple[frozenset[str], str]:
    """`text` with the names put in as the environment writes them."""
    return frozenset(names), text.format(*(PREFIX + name.upper() for name in names))


def _reason(exc: ValidationError | ValueError) -> str:
    return " ".join(map(str, exc.messages)) if isinstance(exc, ValidationError) else str(exc)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _env_names(text: str) -> tuple[str, ...]:
    names = _listed(text)
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an env")
    return names


def _search_paths(text: str) -> tuple[str, ...]:
    """Comma-separated folders; `.` or `/` stands for the root."""
    return tuple(checked_search_path("" if part in {".", "/"} else part) for part in _listed(text)) or ("",)


def _label(text: str) -> str:
    try:
        return checked_label(text)
    except BadInput as exc:
        raise ValueError(exc.reason) from exc


def _labels(text: str) -> tuple[str, ...]:
    return tuple(_label(name) for name in _listed(text))


def _namespace(text: str) -> str:
    """Part of every key in Redis, between braces."""
    if not NAME.fullmatch(text):
        raise ValueError("must match [A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
    return text


def _some(text: str) -> tuple[str, ...]:
    names = _listed(text)
    if not names:
        raise ValueError("names nothing")
    return names


def _http_url(text: str) -> str:
    fields.Url(schemes={"http", "https"}, require_tld=False).deserialize(text)
    return text.rstrip("/")


def _http_urls(text: str) -> tuple[str, ...]:
    return tuple(_http_url(part) for part in _listed(text))


def _redis_url(text: str) -> str:
    if urlsplit(text).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("is not a URL of the form redis://, rediss:// or unix://")
    return text


def _bind(text: str) -> str:
    _, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("is not host:port")
    return text


def _readable_file(text: str) -> Path:
    path = Path(text)
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ValueError("no such file, or it is not readable")
    return path


def _readable_file_or_folder(text: str) -> Path:
    path = Path(text)
    return path if path.is_dir() and os.access(path, os.R_OK | os.X_OK) else _readable_file(text)


def _vault_path(text: str) -> str:
    """A mount or a name in Vault."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", text):
        raise ValueError("is not a path in Vault")
    return text


def _mounts(text: str) -> dict[str, tuple[str, int]]:
    """`alias=mount:version, ...`; the version of a KV engine is 1 or 2."""
    mounts: dict[str, tuple[str, int]] = {}
    for part in _listed(text):
        match = re.fullmatch(r"([a-z][a-z0-9_-]{0,31})=([A-Za-z0-9_][A-Za-z0-9_./-]*):([12])", part)
        if not match:
            raise ValueError(f"{part!r} is not alias=mount:version with a version of 1 or 2")
        mounts[match[1]] = (match[2], int(match[3]))
    return mounts


def _secret_sources(text: str) -> tuple[str, ...]:
    """Separated by blanks, as a template may hold commas."""
    templates = tuple(text.split())
    SecretSources(templates)  # raises for what is none
    return templates


def _algorithms(text: str) -> tuple[str, ...]:
    names = _listed(text)
    if not names or not set(names) <= ASYMMETRIC:
        raise ValueError(f"choose from {', '.join(sorted(ASYMMETRIC))}; shared-secret algorithms are not offered")
    return names


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 10**9:
        raise ValueError("is not a whole number from 1 up")
    return int(text)


def _spring_prefix(text: str) -> str:
    """What stands before Spring's paths; `/` alone means nothing does."""
    if not re.fullmatch(r"/|(/[A-Za-z0-9][A-Za-z0-9_.-]*)+/?", text):
        raise ValueError("is not a path such as /spring, or / alone")
    return text.rstrip("/")


def _header_names(text: str) -> tuple[str, ...]:
    names = _listed(text)
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in {"authorization", "cookie"}:
            raise ValueError(f"{name!r} is not the name of a header for tokens")
    return names


def _limit(text: str) -> int:
    """A whole number; 0 means no limit."""
    return 0 if text == "0" else _count(text)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks; one that stands for everybody trusts nobody's word."""
    networks = tuple(ip_network(part) for part in _listed(text))
    if any(network.prefixlen == 0 for network in networks):
        raise ValueError("must not hold a network of all addresses")
    return networks


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"choose from {', '.join(choices)}")
        return text.lower()

    return read


def _metrics(text: str) -> str:
    """`public`, `view` (needs config:view), or the number of a port of its own."""
    if text in {"public", "view"} or (text.isdigit() and 0 < int(text) < 65536):
        return text
    raise ValueError("choose public, view, or a port number")


_text: Callable[[str], str] = str
_number: Callable[[str], float] = fields.Float(allow_nan=False, validate=Range(min=0)).deserialize
_flag: Callable[[str], bool] = fields.Boolean().deserialize

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
REQUIRED = frozenset({"repo_url"})

#: What config/gunicorn.conf.py tells its workers; no settings of an operator's.
HANDED_DOWN = frozenset({"worker_slot", "metrics_owner"})

#: Every setting, and how its text is read. docs/settings.md lists the same names; a test compares.
READERS: Mapping[str, Callable[[str], Any]] = {
    "repo_url": _text,
    "default_label": _label,
    "envs": _env_names,
    "search_paths": _search_paths,
    "data_dir": Path,
    "poll_seconds": _number,
    "accept_empty": _flag,
    "overrides_file": _readable_file,
    "repositories_file": _readable_file,
    "pin_days": _number,
    "namespace": _namespace,
    "key_file": _readable_file,
    "git_username": _text,
    "git_password_file": _readable_file,
    "git_ssh_key_file": _readable_file,
    "git_known_hosts_file": _readable_file,
    "git_ca_file": _readable_file,
    "git_allowed_signers_file": _readable_file,
    "git_timeout_seconds": _number,
    "git_clone_timeout_seconds": _number,
    "require_signed_commits": _flag,
    "git_write": _flag,
    "git_write_username": _text,
    "git_write_password_file": _readable_file,
    "git_write_ssh_key_file": _readable_file,
    "redis_url": _redis_url,
    "bind": _bind,
    "workers": _count,
    "vault_addr": _http_url,
    "vault_auth_method": _one_of("approle", "jwt", "kubernetes"),
    "vault_auth_mount": _vault_path,
    "vault_role": _text,
    "vault_jwt_file": Path,
    "vault_role_id": _text,
    "vault_secret_id": _text,
    "vault_secret_id_file": Path,
    "vault_secret_id_wrapped": _flag,
    "vault_namespace": _text,
    "vault_cacert": _readable_file,
    "vault_service_token_role": _vault_path,
    "vault_mounts": _mounts,
    "vault_transit_mount": _vault_path,
    "secret_paths": _listed,
    "transit_keys": _listed,
    "secret_labels": _labels,
    "secret_sources": _secret_sources,
    "encrypt_key_file": _readable_file_or_folder,
    "encrypt_keys": _listed,
    "decrypt_endpoint": _flag,
    "secret_ttl_seconds": _number,
    "secret_grace_seconds": _number,
    "secret_watch_seconds": _number,
    "jwt_issuer": _text,
    "jwt_audience": _some,
    "jwt_jwks_url": _http_url,
    "jwt_public_key_file": _readable_file,
    "jwt_discovery": _flag,
    "jwt_algorithms": _algorithms,
    "jwt_leeway_seconds": _number,
    "jwt_max_lifetime_seconds": _number,
    "issuers_file": _readable_file,
    "jwt_permission_claims": _some,
    "service_claim": _text,
    "env_claim": _text,
    "unscoped_read": _flag,
    "rbac_file": _readable_file,
    "allowed_origins": _listed,
    "trusted_proxies": _networks,
    "auth_failures_per_minute": _limit,
    "spring_prefix": _spring_prefix,
    "token_headers": _header_names,
    "continue_on_missing_label": _flag,
    "webhook_secret": _text,
    "webhook_secret_file": _readable_file,
    "notice_urls": _http_urls,
    "notice_secret": _text,
    "notice_secret_file": _readable_file,
    "metrics": _metrics,
    "streams_per_worker": _count,
    "streams_per_instance": _limit,
    "streams_per_subject": _limit,
    "audit_dir": Path,
    "audit_file_mib": _count,
    "audit_stream_records": _count,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_reads_one_of": _count,
}
