"""Owns what is said of a value that a schema refuses: in words, with the rule and never with the value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import ValidationError

from app.effective.schema_keywords import Missing

_SHOWN = 120

_WORDS: Mapping[str, str] = {
    "type": "must be of type {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "pattern": "must match {}",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "uniqueItems": "must not hold an item twice",
    "contains": "must hold the right number of certain items",
    "minProperties": "must have at least {} keys",
    "maxProperties": "must have at most {} keys",
    "required": "lacks {}",
    "dependentRequired": "lacks {}",
    "properties": "must not be there",
    "patternProperties": "must not be there",
    "items": "has more items than may stand here",
    "additionalProperties": "is not a key that may stand here",
    "unevaluatedProperties": "is not a key that may stand here",
    "unevaluatedItems": "holds items that may not stand here",
    "propertyNames": "has a key with a name that is not allowed",
    "anyOf": "matches none of the alternatives",
    "oneOf": "matches none of the alternatives, or more than one",
    "not": "matches what it must not",
}


def said(error: ValidationError) -> str:
    keyword = str(error.validator)
    cause: object = error.cause
    rule = cause.names if isinstance(cause, Missing) else error.validator_value
    return (
        "must not be there"
        if keyword == "None"
        else _WORDS.get(keyword, f"does not satisfy {keyword}").format(_rule(rule))
    )


def _rule(rule: Any) -> str:
    if isinstance(rule, list):
        text = ", ".join(map(_rule, rule))
    else:
        text = rule if isinstance(rule, str) and rule.isprintable() else json.dumps(rule)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
