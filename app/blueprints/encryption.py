"""/v1/admin/encrypt and /decrypt: texts for `{cipher}` values, and back where that is offered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.audit import AuditEvent, Outcome
from app.blueprints.schemas import TextBody, load_body
from app.errors import BadInput, NotFound, NotOffered
from app.model import CIPHER
from app.secrets import Cipher, Undecipherable, without_prefixes

MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Encryption:
    """What both dialects offer of the server's key; each use is on record before it is answered.

    `cipher` None: there is no key. `may_decrypt`: whether decrypting is offered at all.
    """

    cipher: Cipher | None
    may_decrypt: bool
    record: Callable[[AuditEvent], None]

    def encrypt(self, text: str) -> str:
        """Hexadecimal. Raises NotOffered, AuditUnavailable."""
        cipher = self._offered()
        self._record("config.encrypt")
        return cipher.encrypt(text)

    def decrypt(self, text: str) -> str:
        """Takes it with or without `{cipher}`. Raises NotFound, NotOffered, Undecipherable, AuditUnavailable."""
        if not self.may_decrypt:
            raise NotFound("this server decrypts for nobody")
        cipher = self._offered()
        self._record("config.decrypt")
        return cipher.decrypt(without_prefixes(text.removeprefix(CIPHER)))

    def _offered(self) -> Cipher:
        if self.cipher is None:
            raise NotOffered("this server has no key to encrypt with")
        return self.cipher

    def _record(self, action: str) -> None:
        self.record(
            AuditEvent(
                action,
                Outcome.ALLOWED,
                request_id=g.request_id,
                subject=g.principal.subject,
                issuer=g.principal.issuer,
                address=request.remote_addr,
            )
        )


def blueprint(encryption: Encryption) -> Blueprint:
    routes = Blueprint("encryption", __name__, url_prefix="/v1/admin")

    def encrypt() -> ResponseReturnValue:
        request.max_content_length = MAX_BODY
        return {"value": f"{CIPHER}{encryption.encrypt(load_body(TextBody(), request)['value'])}"}

    def decrypt() -> ResponseReturnValue:
        request.max_content_length = MAX_BODY
        try:
            return {"value": encryption.decrypt(load_body(TextBody(), request)["value"])}
        except Undecipherable as exc:
            raise BadInput("value", str(exc)) from exc

    routes.post("/encrypt")(encrypt)
    routes.post("/decrypt")(decrypt)
    return routes
