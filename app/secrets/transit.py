"""Values that Vault's transit engine encrypts and decrypts, `vault:v1:...`: the text holds them, and Vault the key.

Ciphertexts of older versions of a key go on being decrypted, as far back as the key's `min_decryption_version`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

from app.errors import SecretsUnavailable
from app.model import TRANSIT, Secret, SecretPath
from app.secrets.backend import SecretDenied
from app.secrets.login import TokenHolder, asked
from app.secrets.store import SecretStore
from app.secrets.transport import VaultRefused

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Transit:
    """Decrypts through the store, so that plaintext is remembered, and kept in an outage, as other secrets are.

    `holder` gives the token to ask with, for a service or (None) for ourselves; `mount` is the engine's path.
    Thread-safe.
    """

    def __init__(self, store: SecretStore, holder: Callable[[str | None], TokenHolder], mount: str) -> None:
        self._store = store
        self._holder = holder
        self._mount = mount

    def decrypted(self, key: str, texts: Sequence[str], service: str | None = None) -> dict[str, Secret]:
        """What each text is, under the text itself; those that Vault refuses are missing. Vault is asked once for all.

        Raises SecretsUnavailable when it does not answer and not all of them are held.
        """
        places = {SecretPath(TRANSIT, f"{key}#{text}"): text for text in texts}

        def question() -> dict[SecretPath, dict[str, str]]:
            plain = zip(places.items(), self._decrypt(key, list(places.values()), service), strict=True)
            return {at: {text: each} for (at, text), each in plain if each is not None}

        found = self._store.get_all(tuple(places), service, question)
        return {places[at]: secret for at, secret in found.items()}

    def was_held(self, key: str, text: str) -> bool:
        """Whether this process has had its plaintext before."""
        return self._store.known(SecretPath(TRANSIT, f"{key}#{text}"), text)

    def encrypt(self, key: str, text: str) -> str:
        """Another text each time. Raises SecretDenied, SecretsUnavailable."""
        body = {"plaintext": base64.b64encode(text.encode()).decode()}
        match self._store.ask(lambda: self._posted("encrypt", key, body, None)):
            case {"data": {"ciphertext": str(encrypted)}}:
                return encrypted
        raise SecretsUnavailable("the answer is not one of Vault's")

    def _decrypt(self, key: str, texts: Sequence[str], service: str | None) -> list[str | None]:
        # Without the code, one text that is none of the key's would be a 400 that says nothing of the others.
        body = {"batch_input": [{"ciphertext": text} for text in texts], "partial_failure_response_code": 200}
        match self._posted("decrypt", key, body, service):
            case {"data": {"batch_results": list(results)}} if len(results) == len(texts):
                return [_plain(result) for result in results]
        raise SecretsUnavailable("the answer is not one of Vault's")

    def _posted(self, verb: str, key: str, body: object, service: str | None) -> Any:
        if not _KEY.fullmatch(key):  # once more, whoever asks
            raise SecretDenied
        path = f"/v1/{self._mount}/{verb}/{key}"
        try:
            return asked(self._holder(service), lambda client: client.adapter.post(path, json=body))
        except VaultRefused as refused:  # 400: no such key, or no text of it
            raise SecretDenied(forbidden=refused.status == 403) from None


def _plain(result: object) -> str | None:
    match result:
        case {"error": str(error)} if error:
            return None
        case {"plaintext": str(encoded)}:
            try:
                return base64.b64decode(encoded, validate=True).decode()
            except ValueError:
                return None  # encrypted by somebody else, and no text
    raise SecretsUnavailable("the answer is not one of Vault's")
