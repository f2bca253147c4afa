"""Profile expressions."""

from __future__ import annotations

import pytest

from app.effective import active


@pytest.mark.parametrize(
    ("expression", "envs", "holds"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "b,a", True),
        ("!a", "b", True),
        ("! a", "a", False),
        ("!!a", "a", True),
        ("a & b", "a", False),
        ("a&b", "a,b", True),
        ("a | b", "b", True),
        ("a | b | c", "d", False),
        ("a & b & !c", "a,b", True),
        ("(a & b) | c", "c", True),
        ("a & (b | c)", "a,c", True),
        ("!(a | b)", "c", True),
        ("!(a | b)", "b", False),
        ("((a))", "a", True),
        ("a, b", "b", True),
        ("a,b", "c", False),
        ("a & b, c", "c", True),
        ("b | a, c & d", "a", True),
        ("prod-eu.1@x+y", "prod-eu.1@x+y", True),
        ("default", "default", True),
    ],
)
def test_expression(expression: str, envs: str, *, holds: bool) -> None:
    assert active(expression, envs.split(",")) is holds


@pytest.mark.parametrize(
    "expression",
    ["", " ", "&", "a &", "| a", "a b", "(a", "a)", "()", "!", "a & b | c", "a | b & c", "a,", ",a", "a && b", "a;b"],
)
def test_malformed_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        active(expression, ["a"])
