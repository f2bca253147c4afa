"""What answers from elsewhere: the repository, Vault, Redis, the issuer's keys, and how their clocks stand to ours."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import redis
import requests

from app.access import Issuers
from app.cache import RedisLink
from app.doctor.finding import Finding, failed, ok, warning
from app.errors import BusUnavailable, RepositoryUnavailable, SecretsUnavailable
from app.issuer_profiles import issuer_profiles
from app.model import SecretPath
from app.repository import FurtherRepository, GitCredentials, look_at
from app.secrets import SecretBackend, SecretDenied
from app.settings import Settings

#: A skew that signed times do not suffer from, in seconds.
_SMALL = 5.0


def git(settings: Settings, credentials: GitCredentials) -> Iterator[Finding]:
    """The repository answers, and has the default label."""
    try:
        remote = look_at(settings.repo_url, credentials, timeout=settings.git_timeout_seconds)
    except (RepositoryUnavailable, ValueError) as exc:
        remedy = (
            "Try `git ls-remote` with the same credentials; look at CONFIG_SERVER_REPO_URL and CONFIG_SERVER_GIT_*."
        )
        yield failed("git", str(exc), remedy)
        return
    default = settings.default_label or remote.head
    if settings.default_label is None and remote.head not in remote.branches:
        yield failed("git", "HEAD of the repository names no branch", "Set CONFIG_SERVER_DEFAULT_LABEL, or push to it.")
    elif settings.default_label is not None and default not in remote.branches:
        text = f"there is no branch {default}; a tag or commit of that name gets no new versions"
        yield warning("git", text, "Look at CONFIG_SERVER_DEFAULT_LABEL.")
    else:
        yield ok("git", f"{len(remote.branches)} branches, the default is {default}")


def further(settings: Settings, repositories: Sequence[FurtherRepository]) -> Iterator[Finding]:
    """Each further repository answers, and has the label that it has by default."""
    for each in repositories:
        try:
            remote = look_at(each.url, each.credentials, timeout=settings.git_timeout_seconds)
        except (RepositoryUnavailable, ValueError) as exc:
            remedy = (
                f"Try `git ls-remote` with its credentials; look at {each.name} in CONFIG_SERVER_REPOSITORIES_FILE."
            )
            yield failed("git", f"{each.name}: {exc}", remedy)
            continue
        if each.label in remote.branches:
            yield ok("git", f"{each.name}: {len(remote.branches)} branches, the default is {each.label}")
        else:
            remedy = f"Give {each.name} a label in CONFIG_SERVER_REPOSITORIES_FILE, or push to it."
            yield failed("git", f"{each.name}: there is no branch {each.label}", remedy)


def vault(settings: Settings, backend: SecretBackend | None) -> Iterator[Finding]:
    """It is not sealed, and lets us in. Which secrets it gives is between its policies and each reference."""
    if backend is None:
        yield ok("vault", "not configured: references to secrets are errors")
        return
    if settings.vault_secret_id_wrapped:
        yield warning("vault", "not tried: a wrapping token opens once", "Keep it for the server.")
        return
    try:
        backend.read(SecretPath(next(iter(settings.vault_mounts)), "config-server-doctor"), None)
    except SecretDenied:  # 403 or 404: an answer to somebody who is logged in
        pass
    except SecretsUnavailable as exc:
        yield failed("vault", str(exc), "Look at CONFIG_SERVER_VAULT_*, at its seal, and at the role's secret_id.")
        return
    yield ok("vault", "the login works")


def bus(link: RedisLink | None) -> Iterator[Finding]:
    """It answers, takes writes, passes messages on, and throws nothing away."""
    if link is None:
        yield ok("redis", "not configured")
        return
    try:
        facts = link.call(lambda client: _tried(client, link.key(f"doctor:{secrets.token_hex(4)}")))
    except BusUnavailable as exc:
        yield failed(
            "redis", _why(exc), "Look at CONFIG_SERVER_REDIS_URL; it must lead to a primary that takes writes."
        )
        return
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield failed("redis", f"it may throw keys away (maxmemory-policy {policy})", "Set it to noeviction.")
    else:
        yield ok("redis", f"version {facts.get('redis_version', 'unknown')} answers and takes writes")


def _tried(client: redis.Redis, key: str) -> dict[str, Any]:
    client.set(key, "1", ex=5)
    client.eval("return redis.call('DEL', KEYS[1])", 1, key)
    client.publish(key, "1")
    facts: Any = client.info()
    return dict(facts)


def _why(exc: BusUnavailable) -> str:
    """Redis's own word for a refusal (NOPERM, READONLY, OOM) is no secret; the rest of its sentence may be."""
    cause = exc.__cause__
    word = str(cause).split(" ", 1)[0] if isinstance(cause, redis.ResponseError) else ""
    return f"{exc} ({word})" if word.isupper() else str(exc)


def keys(issuers: Issuers) -> Iterator[Finding]:
    """There are keys to verify tokens with."""
    remedy = "Look at CONFIG_SERVER_JWT_JWKS_URL, _JWT_DISCOVERY, _JWT_PUBLIC_KEY_FILE and _JWT_ALGORITHMS."
    for issuer in issuers:
        issuer.keys.start()
        try:
            status = issuer.keys.status()
        finally:
            issuer.keys.close()
        if status.keys:
            yield ok("keys", f"{status.keys} usable")
        else:
            yield failed("keys", status.problem or "none usable", remedy)


def clocks(settings: Settings) -> Iterator[Finding]:
    """Ours, beside those of whoever signs tokens and leases."""
    profiles = issuer_profiles(settings)
    asked = [("Vault", settings.vault_addr, settings.vault_cacert)]
    for profile in profiles:
        name = f"the issuer {profile.issuer}" if len(profiles) > 1 else "the issuer"
        asked.append((name, profile.jwks_url or (profile.issuer if profile.discovery else None), profile.ca_file))
    for name, url, ca_file in asked:
        skew = skew_of(url, ca_file) if url else None
        if skew is None:
            continue
        text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {name}"
        if abs(skew) <= _SMALL:
            yield ok("clock", f"as that of {name}")
        elif abs(skew) <= settings.jwt_leeway_seconds:
            yield warning("clock", text, "Run NTP on both.")
        else:
            yield failed("clock", text, "Run NTP on both: tokens are refused as expired, or as not valid yet.")


def skew_of(url: str, ca_file: Path | None = None) -> float | None:
    """Seconds that our clock is ahead of the one behind `url`; None where it does not tell. TLS trusts `ca_file`."""
    before = time.time()
    try:
        answer = requests.head(url, timeout=(2, 2), allow_redirects=False, verify=str(ca_file) if ca_file else True)
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (requests.RequestException, KeyError, ValueError):
        return None
    return (before + time.time()) / 2 - (there + 0.5)  # a Date says the whole second that has begun
