"""From a part of a configuration to a typed value: dataclasses, pydantic models, and what their fields may be."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from config_client import keys
from config_client.errors import BindingError

T = TypeVar("T")

_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def bound(value: Any, kind: type[T], key: str = "") -> T:
    """`value` as a `kind`. Texts become numbers and booleans where those are asked for, as `.properties` has but texts.

    Raises BindingError, which names the key and what was asked for.
    """
    return cast(T, _converted(value, kind, key))


def _converted(value: Any, kind: Any, key: str) -> Any:
    if kind is Any or kind is object:
        return value
    if isinstance(kind, type) and hasattr(kind, "model_validate"):
        return _model(value, kind, key)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(value, kind, key)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _generic(value, kind, origin, key)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(value, kind, key)
    return _scalar(value, kind, key)


def _scalar(value: Any, kind: Any, key: str) -> Any:
    convert = _SCALARS.get(kind)
    if convert is None:
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        raise BindingError(f"{key or 'the configuration'}: {_name(kind)} is not a type that can be bound")
    try:
        return convert(value)
    except (ValueError, TypeError, OverflowError):
        raise _misfit(key, kind) from None


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return _WORDS[value.strip().lower()] if isinstance(value, str) and value.strip().lower() in _WORDS else _refused()


def _string(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return value if isinstance(value, str) else _refused()


def _none(value: Any) -> None:
    if value is not None:
        raise TypeError


def _refused() -> Any:
    raise TypeError


def _map(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else _refused()


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else _refused()


_SCALARS: Mapping[Any, Callable[[Any], Any]] = {
    int: _integer,
    float: _float,
    bool: _boolean,
    str: _string,
    dict: _map,
    list: _list,
    type(None): _none,
    Path: lambda value: Path(_string(value)),
    timedelta: lambda value: timedelta(seconds=_float(value)),
}


def _generic(value: Any, kind: Any, origin: Any, key: str) -> Any:
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(value, kind, arguments, key)
    if origin is typing.Literal:
        return value if any(value == each and type(value) is type(each) for each in arguments) else _fail(key, kind)
    if origin is typing.Annotated:
        return _converted(value, arguments[0], key)
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _misfit(key, kind)
        return {name: _converted(child, arguments[1], keys.below(key, name)) for name, child in value.items()}
    if not isinstance(value, list):
        raise _misfit(key, kind)
    of = [arguments[0]] * len(value) if origin is not tuple or arguments[-1] is ... else list(arguments)
    if len(of) != len(value):
        raise _misfit(key, kind)
    items = [_converted(child, each, keys.below(key, n)) for n, (child, each) in enumerate(zip(value, of, strict=True))]
    makers: Mapping[Any, Callable[[Any], Any]] = {tuple: tuple, set: set, frozenset: frozenset}
    return makers.get(origin, list)(items)


def _union(value: Any, kind: Any, arguments: tuple[Any, ...], key: str) -> Any:
    """The member that the value is already, else the first that it can become."""
    if value is None and type(None) in arguments:
        return None
    exact = [each for each in arguments if isinstance(each, type) and type(value) is each]
    failure: BindingError | None = None
    for each in [*exact, *(each for each in arguments if each is not type(None))]:
        try:
            return _converted(value, each, key)
        except BindingError as error:
            failure = failure or error
    raise failure if failure and len(arguments) == 2 and type(None) in arguments else _misfit(key, kind)


def _enum(value: Any, kind: type[enum.Enum], key: str) -> Any:
    for member in kind:
        if value in (member.value, member.name) or str(member.value) == value:
            return member
    raise _misfit(key, kind)


def _dataclass(value: Any, kind: type[Any], key: str) -> Any:
    if not isinstance(value, Mapping):
        raise _misfit(key, kind)
    given = {_loose(name): name for name in value}
    hints = _hints(cast(Hashable, kind))
    arguments: dict[str, Any] = {}
    for each in dataclasses.fields(kind):
        if not each.init:
            continue
        name = each.name if each.name in value else given.get(_loose(each.name))
        if name is not None:
            arguments[each.name] = _converted(value[name], hints[each.name], keys.below(key, name))
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise BindingError(f"{keys.below(key, each.name)}: is missing")
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:  # its own __post_init__ refuses; what that says is the program's
        raise BindingError(f"{key or 'the configuration'}: {error}") from error


@lru_cache(256)
def _hints(kind: Hashable) -> Mapping[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _loose(name: str) -> str:
    """`pool_size`, `pool-size` and `poolSize` are one name."""
    return name.replace("-", "").replace("_", "").lower()


def _model(value: Any, kind: Any, key: str) -> Any:
    """A pydantic model; what it says of the input is not repeated, as it may hold the value."""
    try:
        return kind.model_validate(value)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        first = errors(include_url=False, include_input=False)[0] if errors else {"loc": (), "msg": "does not fit"}
        place = key
        for segment in first["loc"]:
            place = keys.below(place, segment)
        raise BindingError(f"{place or 'the configuration'}: {first['msg']}") from None


def _fail(key: str, kind: Any) -> Any:
    raise _misfit(key, kind)


def _misfit(key: str, kind: Any) -> BindingError:
    return BindingError(f"{key or 'the configuration'}: is no {_name(kind)}")


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
