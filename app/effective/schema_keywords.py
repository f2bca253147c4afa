"""Owns the validator: jsonschema's, but for patterns (linear time), its cost (bounded) and secrets (not known here).

A secret may be anything of its type, so a rule about its value is true in one world and false in another. What is
asked first is whether a rule can hold in some world; under `not`, and wherever a rule is counted, whether it must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from app.effective.schema_file import pattern_of

#: Rules that one configuration may cost, containers by their size.
MAX_STEPS = 50_000
_SIZE = 64
_SCALARS = frozenset({"string", "number", "integer", "boolean", "null"})

Errors: TypeAlias = Iterator[ValidationError]
Keyword: TypeAlias = Callable[[Any, Any, Any, Any], Iterable[ValidationError]]


class TooCostly(Exception):
    """The rules are more than a configuration may cost."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a secret (`whole`: a scalar of any type), or for a text that has one in it."""

    whole: bool


@dataclass(slots=True)
class _Run:
    """`must`: whether a rule is asked to hold in every world, instead of in some."""

    steps: int = 0
    must: bool = False


_run: ContextVar[_Run] = ContextVar("validation")


@contextmanager
def bounded() -> Iterator[None]:
    """Within it a validator may be used; raises TooCostly from there."""
    token = _run.set(_Run())
    try:
        yield
    finally:
        _run.reset(token)


def _counted(keyword: Keyword) -> Keyword:
    def counted(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
        run = _run.get()
        run.steps += 1 + _size(rule) + _size(instance)
        if run.steps > MAX_STEPS:
            raise TooCostly
        return keyword(validator, rule, instance, schema) or ()

    return counted


def _size(value: Any) -> int:
    return len(value) // _SIZE if isinstance(value, dict | list | str) else 0


def _holds(validator: Any, schema: Any, instance: Any, *, flipped: bool = False) -> bool:
    """Whether `schema` holds; `flipped`: in every world where some was asked for, and the other way round."""
    run = _run.get()
    before = run.must
    run.must = before != flipped
    try:
        return next(iter(validator.descend(instance, schema)), None) is None
    finally:
        run.must = before


def _asserted(kind: type | tuple[type, ...], test: Callable[[Any, Any], bool]) -> Keyword:
    """A rule about values of one kind; others pass."""

    def keyword(_validator: Any, rule: Any, instance: Any, _schema: Any) -> Errors:
        if isinstance(instance, Opaque):
            if _run.get().must:
                yield ValidationError("")
        elif isinstance(instance, kind) and not isinstance(instance, bool) and not test(rule, instance):
            yield ValidationError("")

    return keyword


def _type(validator: Any, types: Any, instance: Any, _schema: Any) -> Errors:
    wanted = {types} if isinstance(types, str) else set(types)
    if isinstance(instance, Opaque):
        if instance.whole:
            good = _SCALARS - {"integer"} <= wanted if _run.get().must else not wanted.isdisjoint(_SCALARS)
        else:
            good = "string" in wanted
    else:
        good = any(validator.is_type(instance, each) for each in wanted)
    if not good:
        yield ValidationError("")


def _enum(_validator: Any, values: Any, instance: Any, _schema: Any) -> Errors:
    if not any(_is_same(instance, value) for value in values):
        yield ValidationError("")


def _const(_validator: Any, value: Any, instance: Any, _schema: Any) -> Errors:
    if not _is_same(instance, value):
        yield ValidationError("")


def _is_same(instance: Any, value: Any) -> bool:
    """As JSON Schema compares: 1 and 1.0 are one number, 1 and true are not one value."""
    if isinstance(instance, Opaque):
        return not _run.get().must and not isinstance(value, dict | list) and (instance.whole or isinstance(value, str))
    if isinstance(instance, dict) and isinstance(value, dict):
        return instance.keys() == value.keys() and all(_is_same(instance[name], value[name]) for name in value)
    if isinstance(instance, list) and isinstance(value, list):
        return len(instance) == len(value) and all(map(_is_same, instance, value))
    return isinstance(instance, bool) == isinstance(value, bool) and bool(instance == value)


def _are_unique(rule: Any, items: list[Any]) -> bool:
    return not rule or len(set(map(_identity, items))) == len(items)


def _identity(value: Any) -> Any:
    """What can be hashed, equal where the values are; a secret is like nothing else."""
    if isinstance(value, dict):
        return "map", frozenset((name, _identity(each)) for name, each in value.items())
    if isinstance(value, list):
        return "list", tuple(map(_identity, value))
    return (object(),) if isinstance(value, Opaque) else (isinstance(value, bool), value)


def _any_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Errors:
    if not any(_holds(validator, each, instance) for each in schemas):
        yield ValidationError("")


def _one_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Errors:
    least, most = _counts(validator, ((each, instance) for each in schemas))
    if least < 1 or most > 1:
        yield ValidationError("")


def _counts(validator: Any, pairs: Iterable[tuple[Any, Any]]) -> tuple[int, int]:
    """How many of (schema, instance) hold, as it is asked and flipped: between them lies what secrets decide."""
    known = list(pairs)
    return (
        sum(_holds(validator, schema, instance) for schema, instance in known),
        sum(_holds(validator, schema, instance, flipped=True) for schema, instance in known),
    )


def _not(validator: Any, schema: Any, instance: Any, _schema: Any) -> Errors:
    if _holds(validator, schema, instance, flipped=True):
        yield ValidationError("")


def _if(validator: Any, condition: Any, instance: Any, schema: Any) -> Errors:
    one, other = _holds(validator, condition, instance), _holds(validator, condition, instance, flipped=True)
    ways = [name for name, taken in (("then", one or other), ("else", not (one and other))) if taken]
    found = [list(validator.descend(instance, schema.get(name, True), schema_path=name)) for name in ways]
    if all(found) or _run.get().must:
        yield from next(filter(None, found), [])


def _contains(validator: Any, wanted: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, list):
        least, most = _counts(validator, ((wanted, item) for item in instance))
        if least < schema.get("minContains", 1) or most > schema.get("maxContains", len(instance)):
            yield ValidationError("")


def _required(_validator: Any, names: Any, instance: Any, _schema: Any) -> Errors:
    if isinstance(instance, dict) and (missing := [name for name in names if name not in instance]):
        yield _lacking(missing)


def _dependent_required(_validator: Any, rules: Any, instance: Any, _schema: Any) -> Errors:
    if isinstance(instance, dict):
        for name, needed in rules.items():
            if name in instance and (missing := [each for each in needed if each not in instance]):
                yield _lacking(missing)


def _lacking(missing: list[str]) -> ValidationError:
    return ValidationError("", cause=Missing(missing))


class Missing(Exception):
    """Rides on an error: the keys that are not there."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names


def _properties(validator: Any, rules: Any, instance: Any, _schema: Any) -> Errors:
    if isinstance(instance, dict):
        for name, schema in rules.items():
            if name in instance:
                yield from _below(validator, schema, instance, [name])


def _pattern_properties(validator: Any, rules: Any, instance: Any, _schema: Any) -> Errors:
    if isinstance(instance, dict):
        for text, schema in rules.items():
            pattern = pattern_of(text)
            yield from _below(validator, schema, instance, [name for name in instance if pattern.search(name)])


def _additional_properties(validator: Any, schema_below: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, dict):
        known, patterns = schema.get("properties", {}), list(map(pattern_of, schema.get("patternProperties", {})))
        rest = [each for each in instance if each not in known and not any(one.search(each) for one in patterns)]
        yield from _below(validator, schema_below, instance, rest)


def _unevaluated_properties(validator: Any, schema_below: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, dict):
        beside = {name: rule for name, rule in schema.items() if name != "unevaluatedProperties"}
        seen = set(_evaluated(validator, instance, beside))
        yield from _below(validator, schema_below, instance, [each for each in instance if each not in seen])


def _below(validator: Any, schema: Any, instance: Any, names: list[str]) -> Errors:
    for name in names:
        if schema is False:
            yield ValidationError("", path=[name])
        else:
            yield from validator.descend(instance[name], schema, path=name)


def _evaluated(validator: Any, instance: dict[str, Any], schema: Any) -> Iterator[str]:
    """The keys that `schema` has looked at already (JSON Schema core, section 11.3)."""
    if not isinstance(schema, dict):
        return
    _step(len(instance))
    yield from (name for name in schema.get("properties", ()) if name in instance)
    patterns = list(map(pattern_of, schema.get("patternProperties", ())))
    yield from (name for name in instance if any(each.search(name) for each in patterns))
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        yield from instance
    for below, resolver in _in_place(validator, instance, schema):
        at = validator.evolve(schema=below, _resolver=resolver)
        if _holds(at, below, instance):
            yield from _evaluated(at, instance, below)


def _in_place(validator: Any, instance: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The schemas that hold for the same instance, each with what resolves its references."""
    resolver = validator._resolver
    for name in ("$ref", "$dynamicRef"):
        if name in schema:
            found = resolver.lookup(schema[name])
            yield found.contents, found.resolver
    yield from ((below, resolver) for name in ("allOf", "anyOf", "oneOf") for below in schema.get(name, ()))
    yield from ((below, resolver) for name, below in schema.get("dependentSchemas", {}).items() if name in instance)
    if "if" in schema:
        way = "then" if _holds(validator, schema["if"], instance) else "else"
        yield schema["if"], resolver
        yield schema.get(way, True), resolver


def _step(steps: int) -> None:
    run = _run.get()
    run.steps += 1 + steps
    if run.steps > MAX_STEPS:
        raise TooCostly


_NUMBER = (int, float)
_ASSERTIONS: Mapping[str, Keyword] = {
    "minimum": _asserted(_NUMBER, lambda rule, number: bool(number >= rule)),
    "maximum": _asserted(_NUMBER, lambda rule, number: bool(number <= rule)),
    "exclusiveMinimum": _asserted(_NUMBER, lambda rule, number: bool(number > rule)),
    "exclusiveMaximum": _asserted(_NUMBER, lambda rule, number: bool(number < rule)),
    "multipleOf": _asserted(
        _NUMBER, lambda rule, number: (Fraction(str(number)) / Fraction(str(rule))).denominator == 1
    ),
    "minLength": _asserted(str, lambda rule, text: len(text) >= rule),
    "maxLength": _asserted(str, lambda rule, text: len(text) <= rule),
    "pattern": _asserted(str, lambda rule, text: pattern_of(rule).search(text) is not None),
    "minItems": _asserted(list, lambda rule, items: len(items) >= rule),
    "maxItems": _asserted(list, lambda rule, items: len(items) <= rule),
    "uniqueItems": _asserted(list, _are_unique),
    "minProperties": _asserted(dict, lambda rule, entries: len(entries) >= rule),
    "maxProperties": _asserted(dict, lambda rule, entries: len(entries) <= rule),
}
_OURS: Mapping[str, Keyword] = {
    **_ASSERTIONS,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "contains": _contains,
    "required": _required,
    "dependentRequired": _dependent_required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
}
#: jsonschema's class for 2020-12 with our keywords, each of them counted. `format` is an annotation, as there.
SchemaValidator = extend(  # type: ignore[no-untyped-call]  # its stubs leave it open
    Draft202012Validator,
    {name: _counted(each) for name, each in {**Draft202012Validator.VALIDATORS, **_OURS}.items()},
)
