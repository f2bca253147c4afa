"""/v1/admin/encrypt and /decrypt: texts for `{cipher}` and `${transit:...}`, and back where that is offered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.audit import AuditEvent, Outcome
from app.blueprints.schemas import EncryptBody, TextBody, load_body
from app.effective import MalformedReference, parse_template, transit_reference
from app.errors import BadInput, NotFound, NotOffered, SecretsUnavailable
from app.model import CIPHER, Reference, Template
from app.secrets import Cipher, KeyRing, SecretDenied, Transit, Undecipherable, alias_of, without_prefixes

MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Encryption:
    """What both dialects offer of the server's keys, and /v1 of Vault's; each use is on record before it is answered.

    `keys` None: there is none; `transit` None: there is no Vault. `may_decrypt`: whether decrypting is offered.
    """

    keys: KeyRing | None
    may_decrypt: bool
    record: Callable[[AuditEvent], None]
    transit: Transit | None = None

    def encrypt(self, text: str, alias: str | None = None) -> str:
        """Hexadecimal. Raises NotOffered, Undecipherable for a key that there is not, AuditUnavailable."""
        cipher = self._offered(alias)
        self._record("config.encrypt")
        return cipher.encrypt(text)

    def decrypt(self, text: str) -> str:
        """Takes it with or without `{cipher}`. Raises NotFound, NotOffered, Undecipherable, AuditUnavailable."""
        if not self.may_decrypt:
            raise NotFound("this server decrypts for nobody")
        text = text.removeprefix(CIPHER)
        cipher = self._offered(alias_of(text))
        self._record("config.decrypt")
        return cipher.decrypt(without_prefixes(text))

    def encrypt_in_vault(self, key: str, text: str) -> str:
        """The whole reference. Raises NotOffered, BadInput, SecretsUnavailable, AuditUnavailable."""
        transit = self._vault()
        self._record("config.encrypt", f"transit {key}")
        try:
            return transit_reference(key, transit.encrypt(key, text)).text
        except SecretDenied:
            raise BadInput("transit", "Vault does not encrypt with this key") from None
        except MalformedReference:
            raise SecretsUnavailable("the answer is not one of Vault's") from None

    def decrypt_in_vault(self, reference: Reference) -> str:
        """Raises NotFound, NotOffered, Undecipherable, SecretsUnavailable, AuditUnavailable."""
        if not self.may_decrypt:
            raise NotFound("this server decrypts for nobody")
        transit = self._vault()
        self._record("config.decrypt", f"transit {reference.path}")
        found = transit.decrypted(reference.path, [reference.key]).get(reference.key)
        if found is None:
            raise Undecipherable("Vault does not decrypt the text with this key")
        return str(found.data[reference.key])

    def _vault(self) -> Transit:
        if self.transit is None:
            raise NotOffered("this server has no Vault to encrypt with")
        return self.transit

    def _offered(self, alias: str | None) -> Cipher:
        if self.keys is None:
            raise NotOffered("this server has no key to encrypt with")
        return self.keys.of(alias)

    def _record(self, action: str, detail: str | None = None) -> None:
        self.record(
            AuditEvent(
                action,
                Outcome.ALLOWED,
                request_id=g.request_id,
                subject=g.principal.subject,
                issuer=g.principal.issuer,
                address=request.remote_addr,
                detail=detail,
            )
        )


def blueprint(encryption: Encryption) -> Blueprint:
    routes = Blueprint("encryption", __name__, url_prefix="/v1/admin")

    def encrypt() -> ResponseReturnValue:
        request.max_content_length = MAX_BODY
        body = load_body(EncryptBody(), request)
        if "key" in body and "transit" in body:
            raise BadInput("key", "is the server's, and transit is Vault's: one of them")
        if "transit" in body:
            return {"value": encryption.encrypt_in_vault(body["transit"], body["value"])}
        alias = body.get("key")
        try:
            encrypted = encryption.encrypt(body["value"], alias)
        except Undecipherable as exc:
            raise BadInput("key", str(exc)) from exc
        return {"value": f"{CIPHER}{f'{{key:{alias}}}' if alias else ''}{encrypted}"}

    def decrypt() -> ResponseReturnValue:
        request.max_content_length = MAX_BODY
        text = load_body(TextBody(), request)["value"]
        try:
            reference = _in_vault(text)
            return {"value": encryption.decrypt_in_vault(reference) if reference else encryption.decrypt(text)}
        except Undecipherable as exc:
            raise BadInput("value", str(exc)) from exc

    routes.post("/encrypt")(encrypt)
    routes.post("/decrypt")(decrypt)
    return routes


def _in_vault(text: str) -> Reference | None:
    """The reference that a text is as a whole, if Vault's transit engine is to decrypt it."""
    try:
        template = parse_template(text)
    except MalformedReference as exc:
        raise BadInput("value", str(exc)) from exc
    match template:
        case Template(parts=(Reference() as reference,)) if reference.is_transit:
            return reference
    return None
