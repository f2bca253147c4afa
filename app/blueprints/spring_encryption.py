"""/encrypt, /decrypt and /key as Spring's server has them: texts in, texts out, and its own words for what is wrong."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from app.blueprints.encryption import MAX_BODY, Encryption
from app.errors import BadInput, NotOffered
from app.secrets import Undecipherable, without_prefixes

#: `{key:alias}` and the like, which are given back before what was encrypted.
_KEYS = re.compile(r"(?:\{(?:key|secret):[^{}]*\})*")


def add_to(routes: Blueprint, encryption: Encryption) -> None:
    def encrypt(**_target: str) -> ResponseReturnValue:
        text = _text()
        keys = _KEYS.match(text)
        try:
            return _plain(f"{keys[0] if keys else ''}{encryption.encrypt(without_prefixes(text))}")
        except NotOffered:
            return _NO_KEY

    def decrypt(**_target: str) -> ResponseReturnValue:
        try:
            return _plain(encryption.decrypt(_text()))
        except NotOffered:
            return _NO_KEY
        except Undecipherable:
            return {"status": "INVALID", "description": "Text not encrypted with this key"}, 400

    def encrypt_status() -> ResponseReturnValue:
        return {"status": "OK"} if encryption.cipher is not None else _NO_KEY

    def key(**_target: str) -> ResponseReturnValue:
        if encryption.cipher is None:
            return _NO_KEY
        return {"status": "NOT_FOUND", "description": "No public key available"}, 404

    for suffix, rule in (("", ""), ("_for", "/<name>/<profiles>")):
        routes.post(f"/encrypt{rule}", endpoint=f"encrypt{suffix}")(encrypt)
        routes.post(f"/decrypt{rule}", endpoint=f"decrypt{suffix}")(decrypt)
        routes.get(f"/key{rule}", endpoint=f"key{suffix}")(key)
    routes.get("/encrypt/status")(encrypt_status)


_NO_KEY: ResponseReturnValue = ({"status": "NO_KEY", "description": "No key was installed for encryption service"}, 404)


def _plain(text: str) -> Response:
    return Response(text, content_type="text/plain; charset=utf-8")


def _text() -> str:
    """The body. A client that says it is a form may have encoded it, and put an equals sign at the end."""
    request.max_content_length = MAX_BODY
    try:
        text = request.get_data().decode()
    except UnicodeDecodeError:
        raise BadInput("body", "is not UTF-8 text") from None
    if text.endswith("=") and request.mimetype != "text/plain":
        return unquote_plus(text).removesuffix("=")
    return text
