"""The description of one route, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from marshmallow import Schema

from app.errors import ConfigServerError

#: A piece of an OpenAPI document.
Part: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer: what it means, its media types with their schemas, its headers by component name."""

    description: str
    content: Mapping[str, Part] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `fails` are the errors beyond those that its place in the guard's table implies, `http_fails` the
    problems (status, type, meaning) that are none of our errors.

    `parameters` are names of parameter components; `query` is the schema of the query, `more` what no schema holds.
    """

    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    parameters: tuple[str, ...] = ()
    query: type[Schema] | None = None
    more: tuple[Part, ...] = ()
    fails: tuple[type[ConfigServerError], ...] = ()
    http_fails: tuple[tuple[int, str, str], ...] = ()
    body: Part | None = None


def json_of(schema: type[Schema], example: object = None) -> Mapping[str, Part]:
    content: Part = {"schema": schema}
    return {"application/json": content if example is None else {**content, "example": example}}


def json_body(schema: type[Schema]) -> Part:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
