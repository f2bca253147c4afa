"""What a part of a configuration becomes: typed values, and errors that name the key and never the value."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, SecretStr

from config_client import BindingError
from config_client.binding import bound


class Level(enum.Enum):
    INFO = "info"
    WARN = "warn"


@dataclass(frozen=True)
class Host:
    name: str
    port: int = 80


@dataclass
class Settings:
    pool_size: int
    hosts: list[Host] = field(default_factory=list)
    level: Level = Level.INFO
    limits: dict[str, float] = field(default_factory=dict)
    timeout: timedelta = timedelta(seconds=1)
    folder: Path | None = None
    mode: Literal["fast", "safe"] = "safe"
    either: int | str = 0
    pair: tuple[int, str] = (0, "")


class Password(BaseModel):
    user: str
    password: SecretStr


@dataclass
class Range:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_a_dataclass_is_filled_from_texts_and_other_spellings_of_its_names() -> None:
    given = {
        "pool-size": "20",
        "hosts": [{"name": "a", "port": "8080"}, {"name": "b"}],
        "level": "warn",
        "limits": {"low": "1.5", "high": 2},
        "timeout": 2.5,
        "folder": "/tmp",
        "mode": "fast",
        "either": "x",
        "pair": ["3", "c"],
        "nobody": "knows this",
    }
    assert bound(given, Settings) == Settings(
        20,
        [Host("a", 8080), Host("b")],
        Level.WARN,
        {"low": 1.5, "high": 2.0},
        timedelta(seconds=2.5),
        Path("/tmp"),
        "fast",
        "x",
        (3, "c"),
    )


@pytest.mark.parametrize(
    ("value", "kind", "becomes"),
    [
        ("5", int, 5),
        (5.0, int, 5),
        ("1.5", float, 1.5),
        (2, float, 2.0),
        ("yes", bool, True),
        ("off", bool, False),
        (True, str, "true"),
        (5, str, "5"),
        (None, int | None, None),
        ("5", int | None, 5),
        ([1, "2"], list[int], [1, 2]),
        ([1, 1], set[int], {1}),
        ([1, 2], tuple[int, ...], (1, 2)),
        ({"a": 1}, dict, {"a": 1}),
        ({"a": 1}, Any, {"a": 1}),
    ],
)
def test_values_become_what_is_asked_for(value: Any, kind: Any, becomes: Any) -> None:
    made = bound(value, kind)
    assert made == becomes
    assert type(made) is type(becomes)


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ("s3cret", int, "key: is no int"),
        (1.5, int, "key: is no int"),
        (True, int, "key: is no int"),
        (None, int, "key: is no int"),
        ("s3cret", bool, "key: is no bool"),
        ([1], str, "key: is no str"),
        ({"a": 1}, list[int], "key: is no list"),
        ([1, "s3cret"], list[int], r"key\[1\]: is no int"),
        ([1, 2, 3], tuple[int, int], "key: is no tuple"),
        ({"pool_size": 1, "hosts": [{"port": 1}]}, Settings, r"key\.hosts\[0\]\.name: is missing"),
        ({"pool_size": 1, "level": "s3cret"}, Settings, r"key\.level: is no Level"),
        ({"pool_size": 1, "mode": "s3cret"}, Settings, r"key\.mode: is no Literal"),
        ("s3cret", Settings, "key: is no Settings"),
        ({"user": "u"}, Password, r"key\.password: Field required"),
        ({"low": 2, "high": 1}, Range, "key: low is above high"),
        ("x", BaseException, "not a type that can be bound"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key_and_not_by_its_value(value: Any, kind: Any, says: str) -> None:
    with pytest.raises(BindingError, match=says) as failure:
        bound(value, kind, "key")
    assert "s3cret" not in str(failure.value)
