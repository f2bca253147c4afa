"""Replacing the secret_id in a server's file: at every moment, also of a crash, one that works lies there.

The new one is made here and written beside the file before Vault is told of it, and the old one is kept beside it until
Vault has destroyed it. So whatever a crash leaves behind is found by the next rotation, and destroyed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hvac

from app.errors import ConfigServerError, SecretsUnavailable
from app.secrets.approle import AppRole
from app.secrets.login import auth_of
from app.secrets.policy import is_plain_path
from app.secrets.transport import Endpoint, VaultRefused


class RotationFailed(ConfigServerError):
    """The text tells an operator why, and holds no secret. What lies in the file works as well as it did before."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """`destroyed`: how many secret_ids exist no more, those that a broken-off rotation had left among them."""

    destroyed: int


def rotate(endpoint: Endpoint, auth: AppRole, role: str, token: str) -> Rotated:
    """Put a new secret_id of the AppRole named `role` into `auth`'s file, log in with it, then destroy the old one.

    `token` may make, look up and destroy secret_ids of the role. Raises RotationFailed, also when Vault does not
    answer.
    """
    if auth.secret_id_file is None or auth.wrapped:
        raise RotationFailed("only a secret_id that lies in a file, and is not wrapped, can be rotated")
    if not is_plain_path(role) or "/" in role:
        raise RotationFailed(f"not the name of an AppRole: {role!r}")
    with endpoint.session() as session, _held(Path(auth.secret_id_file)) as file:
        operator, anonymous = endpoint.client(session, token), endpoint.client(session, "")
        try:
            return _Rotation(SecretIds(operator, auth.mount, role), auth, anonymous, file).run()
        except SecretsUnavailable as error:
            raise RotationFailed(f"{error}; run this again when Vault answers") from None
        except OSError as error:
            raise RotationFailed(f"the file with the secret_id cannot be replaced: {error.strerror}") from None


class SecretIds:
    """The secret_ids of one AppRole, as whoever may manage them sees them. Raises RotationFailed when Vault refuses."""

    def __init__(self, client: hvac.Client, mount: str, role: str) -> None:
        self._client = client
        self._path = f"/v1/auth/{mount}/role/{role}"

    def accessor(self, secret_id: str) -> str | None:
        """None for one that Vault does not know, or not any more."""
        match self._post("secret-id/lookup", "look up a secret_id", secret_id=secret_id):
            case {"data": {"secret_id_accessor": str(accessor)}}:
                return accessor
        return None

    def add(self, secret_id: str) -> None:
        self._post("custom-secret-id", "make a secret_id", secret_id=secret_id)

    def destroy(self, secret_id: str) -> bool:
        """Whether there was something to destroy."""
        accessor = self.accessor(secret_id)
        if accessor is None:
            return False
        self._post("secret-id-accessor/destroy", "destroy a secret_id", secret_id_accessor=accessor)
        return True

    def _post(self, what: str, words: str, **body: str) -> Any:
        try:
            return self._client.adapter.post(f"{self._path}/{what}", json=body)
        except VaultRefused as refused:
            reason = {404: "there is no such AppRole", 403: "the token may not do that"}
            raise RotationFailed(
                f"Vault refuses to {words}: {reason.get(refused.status, 'it takes the request for wrong')}"
            ) from None


class _Rotation:
    def __init__(self, ids: SecretIds, auth: AppRole, anonymous: hvac.Client, file: Path) -> None:
        self._ids = ids
        self._auth = auth
        self._anonymous = anonymous
        self._file = file
        self._next = file.with_name(f"{file.name}.next")
        self._previous = file.with_name(f"{file.name}.previous")

    def run(self) -> Rotated:
        old = _text(self._file)
        destroyed = self._clear_leftovers(old)
        new = secrets.token_urlsafe(32)
        _write_like(self._next, new, self._file)
        self._add(new)
        self._try(new)
        self._swap()
        if old is not None:
            destroyed += self._ids.destroy(old)
        self._previous.unlink(missing_ok=True)
        return Rotated(destroyed)

    def _clear_leftovers(self, current: str | None) -> int:
        """What a rotation left that was broken off: the new one before the swap, the old one after it."""
        destroyed = 0
        for leftover in (self._next, self._previous):
            text = _text(leftover)
            if text is not None and text != current:
                destroyed += self._ids.destroy(text)
            leftover.unlink(missing_ok=True)
        return destroyed

    def _add(self, new: str) -> None:
        try:
            self._ids.add(new)
        except RotationFailed:  # Vault has said no; without an answer it might be there, and the next rotation looks
            self._next.unlink()
            raise

    def _try(self, new: str) -> None:
        """Log in with it, and see that it can be used again."""
        role = AppRole(self._auth.role_id, new, mount=self._auth.mount)
        try:
            token, _, _ = auth_of(role.credentials().login(self._anonymous))
        except VaultRefused:
            self._give_up(new, "Vault takes no login with the new secret_id: is this the role of VAULT_ROLE_ID?")
        with suppress(VaultRefused):  # where the role's policy does not let it end itself, its TTL does
            self._revoke(token)
        if self._ids.accessor(new) is None:
            self._give_up(new, "the role's secret_ids are used up by one login (secret_id_num_uses)")

    def _revoke(self, token: str) -> None:
        self._anonymous.adapter.post("/v1/auth/token/revoke-self", headers={"X-Vault-Token": token})

    def _give_up(self, new: str, reason: str) -> NoReturn:
        self._ids.destroy(new)
        self._next.unlink()
        raise RotationFailed(f"{reason} Nothing has changed.")

    def _swap(self) -> None:
        if self._file.exists():
            os.link(self._file, self._previous)
        os.replace(self._next, self._file)
        _sync(self._file.parent)


@contextmanager
def _held(file: Path) -> Iterator[Path]:
    """One rotation at a time in the file's folder. Raises RotationFailed."""
    if file.is_symlink():
        raise RotationFailed("the file with the secret_id is a link: who made the link must replace what it points to")
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RotationFailed(f"the folder of the secret_id's file cannot be used: {error.strerror}") from None
    try:
        _lock(folder)
        yield file
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RotationFailed("another rotation is at it") from None


def _text(file: Path) -> str | None:
    """None for a file that is not there, or is empty."""
    try:
        return file.read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise RotationFailed("the file with the secret_id holds no text") from None


def _write_like(file: Path, text: str, model: Path) -> None:
    """Write a file that who may read `model` may read, and nobody else; on the disk when this returns."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w") as out:
        if model.exists():
            like = model.stat()
            if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o777)
        out.write(text + "\n")
        out.flush()
        os.fsync(descriptor)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
