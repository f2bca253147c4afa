"""Maps and lists that nobody changes: what a configuration is handed out as."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("a configuration is not changed in place; copy.deepcopy() gives one that can be")


class FrozenDict(dict[str, Any]):
    """A dict for every reader (`json.dumps`, `==`, `**`), and for no writer."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: thawed(value) for key, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list, likewise."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [thawed(value) for value in self]

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


def frozen(value: Any) -> Any:
    """The same value, all through."""
    if isinstance(value, dict):
        return FrozenDict({key: frozen(child) for key, child in value.items()})
    if isinstance(value, list):
        return FrozenList(frozen(child) for child in value)
    return value


def thawed(value: Any) -> Any:
    """A plain copy that may be changed."""
    if isinstance(value, dict):
        return {key: thawed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [thawed(child) for child in value]
    return value
