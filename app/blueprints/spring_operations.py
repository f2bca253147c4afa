"""What the routes for Spring Cloud Config's clients take and answer, and those of encryption, for /openapi.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from marshmallow import Schema, fields

from app import errors
from app.blueprints.operation import Answer, Operation, Part, json_body, json_of
from app.blueprints.schemas import TextBody
from app.blueprints.spring import V2

_TAG = "Spring Cloud Config"
_HEADERS = ("ETag", "X-Config-Version", "X-Config-Rev", "X-Config-Stale")
_COMMIT = "c33e451d4929cd3d56722eddebeb70f6c5186b72"
_FAILS = (
    errors.BadInput,
    errors.UnknownLabel,
    errors.UnknownTarget,
    errors.SecretRefused,
    errors.SecretsUnavailable,
    errors.RepositoryUnavailable,
)
_UNCHANGED = Answer("The caller's copy is still right.", {}, _HEADERS)
_ABOUT = (
    "For clients of Spring Cloud Config, on the same files, secrets and permissions as /v1. The token may stand in "
    "`Authorization: Bearer`, in the password of `Basic` (GET only), in `X-Config-Token`, or in a header of "
    "TOKEN_HEADERS. Errors have Spring's shape, and what does not parse is 500. `(_)` stands for a slash in a name or "
    "label; several names, profiles and labels are separated by commas, the last one ranks highest. "
)


class PropertySourceSchema(Schema):
    """One document, under flat keys."""

    name = fields.String(required=True)
    source = fields.Dict(keys=fields.String(), required=True)


class EnvironmentSchema(Schema):
    """The documents of a target, strongest first."""

    name = fields.String(required=True)
    profiles = fields.List(fields.String(), required=True)
    label = fields.String(required=True, allow_none=True)
    version = fields.String(required=True)
    state = fields.String(required=True)
    propertySources = fields.List(fields.Nested(PropertySourceSchema), required=True)  # noqa: N815 - Spring's word


class SpringErrorSchema(Schema):
    """An error in Spring's shape."""

    timestamp = fields.String(required=True)
    status = fields.Integer(required=True)
    error = fields.String(required=True)
    message = fields.String(required=True)
    path = fields.String(required=True)


class EncryptionStatusSchema(Schema):
    """A word, and what it means."""

    status = fields.String(required=True)
    description = fields.String()


def _part(name: str, description: str) -> Part:
    return {"in": "path", "name": name, "required": True, "description": description, "schema": {"type": "string"}}


_NAME = _part("name", "The application, or several.")
_PROFILES = _part("profiles", "A profile, or several.")
_LABEL = _part("label", "A branch, tag or commit id, or several.")
_PATH = _part("path", "The file's path in a search location; it may hold slashes.")
_DOCUMENT = _part("document", "`NAME-PROFILES.yml`, `.yaml`, `.json` or `.properties`; the last hyphen splits.")
_RESOLVE: Part = {
    "in": "query",
    "name": "resolvePlaceholders",
    "description": "`false`: placeholders of a flat document or a text stay as they are written.",
    "schema": {"type": "boolean", "default": True},
}
_DEFAULT_LABEL: Part = {
    "in": "query",
    "name": "useDefaultLabel",
    "allowEmptyValue": True,
    "description": "What stands where the label may is the beginning of a file's path, at the default label.",
    "schema": {"type": "string"},
}
_EXAMPLE = {
    "name": "pay",
    "profiles": ["prod"],
    "label": None,
    "version": _COMMIT,
    "state": "",
    "propertySources": [{"name": "https://git.example.org/config.git/pay.yml", "source": {"db.pool": 9}}],
}
_ENVIRONMENT: Mapping[str, Part] = {
    **json_of(EnvironmentSchema, _EXAMPLE),
    V2: {"schema": EnvironmentSchema},
    "text/plain": {"schema": {"type": "string"}},
}
_ANY: Mapping[str, Part] = {"*/*": {"schema": {}}}
_TEXT: Part = {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
_PLAIN: Mapping[str, Part] = {"text/plain": {"schema": {"type": "string"}}}
_TOO_LARGE = (413, "too-large", "The body is larger than 1 MiB.")
_NO_KEY = (404, "NO_KEY", "No key is set up.")
_BROKEN = (500, "bad-configuration", "A file does not parse, and no older version is good.")


def _read(summary: str, content: Mapping[str, Part], parts: tuple[Part, ...], description: str = "") -> Operation:
    return Operation(
        _TAG,
        summary,
        _ABOUT + description,
        {200: Answer("What was asked for.", content, _HEADERS), 304: _UNCHANGED},
        parameters=("If-None-Match",),
        more=parts,
        fails=(*_FAILS, errors.UnknownFile),
        http_fails=(_BROKEN,),
    )


_ENCRYPTION: Mapping[str, Operation] = {
    "encrypt": Operation(
        _TAG,
        "Encrypt a text",
        "The body is the text, the answer what follows `{cipher}`.",
        {200: Answer("Hexadecimal.", _PLAIN)},
        fails=(errors.BadInput, errors.AuditUnavailable),
        http_fails=(_NO_KEY, _TOO_LARGE),
        body=_TEXT,
    ),
    "decrypt": Operation(
        _TAG,
        "Decrypt a text",
        "Offered with DECRYPT_ENDPOINT=true.",
        {200: Answer("The text.", _PLAIN)},
        fails=(errors.BadInput, errors.NotFound, errors.AuditUnavailable),
        http_fails=((400, "INVALID", "Not encrypted with this key."), _NO_KEY, _TOO_LARGE),
        body=_TEXT,
    ),
    "key": Operation(
        _TAG,
        "The public key",
        "There is none: the key is symmetric.",
        {},
        http_fails=((404, "NOT_FOUND", "A symmetric key has no public part."), _NO_KEY),
    ),
}

SPRING_OPERATIONS: Mapping[str, Operation] = {
    "spring.environment": _read(
        "An environment at the default label",
        _ENVIRONMENT,
        (_NAME, _PROFILES, _RESOLVE),
        f"`Accept: {V2}` adds where each value stands. With a `profiles` like `NAME-PROFILES.yml`, the flat document "
        "at the label that `name` then is.",
    ),
    "spring.labelled": _read(
        "An environment at a label", {**_ENVIRONMENT, **_ANY}, (_NAME, _PROFILES, _LABEL, _RESOLVE, _DEFAULT_LABEL)
    ),
    "spring.flat": _read("A flat document", {**json_of(Schema), **_PLAIN}, (_DOCUMENT, _RESOLVE)),
    "spring.file": _read(
        "A plain file",
        _ANY,
        (_NAME, _PROFILES, _LABEL, _PATH, _RESOLVE, _DEFAULT_LABEL),
        "A text has its placeholders filled; `Accept: application/octet-stream` gets the bytes as they are.",
    ),
    **{f"spring.{name}": operation for name, operation in _ENCRYPTION.items()},
    **{f"spring.{name}_for": replace(each, more=(_NAME, _PROFILES)) for name, each in _ENCRYPTION.items()},
    "spring.encrypt_status": Operation(
        _TAG,
        "Is there a key",
        "To encrypt with.",
        {200: Answer("Yes.", json_of(EncryptionStatusSchema, {"status": "OK"}))},
        http_fails=(_NO_KEY,),
    ),
    "spring.monitor": Operation(
        _TAG,
        "Be told of a push",
        "As POST /hooks/git; answers the names of the applications that the files of the push may belong to, `*` for "
        "all.",
        {
            200: Answer(
                "Signed; a fetch will follow.",
                {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
            )
        },
        fails=(errors.Unauthenticated, errors.NotFound),
        http_fails=(_TOO_LARGE,),
        body={"content": {"*/*": {"schema": {}}}},
    ),
    "encryption.encrypt": Operation(
        "Administration",
        "Encrypt a text",
        "For a value in the repository that the server decrypts on the way out: `{cipher}` and hexadecimal.",
        {200: Answer("The value as it is written into a file.", json_of(TextBody))},
        fails=(errors.BadInput, errors.NotOffered, errors.AuditUnavailable),
        http_fails=(_TOO_LARGE,),
        body=json_body(TextBody),
    ),
    "encryption.decrypt": Operation(
        "Administration",
        "Decrypt a value",
        "Offered with DECRYPT_ENDPOINT=true.",
        {200: Answer("The text.", json_of(TextBody))},
        fails=(errors.BadInput, errors.NotFound, errors.NotOffered, errors.AuditUnavailable),
        http_fails=(_TOO_LARGE,),
        body=json_body(TextBody),
    ),
}
