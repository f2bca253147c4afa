"""Owns profile expressions: `a & b`, `a | b`, `!a`, parentheses, and a comma list of which one must match."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.effective.limits import MAX_DEPTH

_TOKEN = re.compile(r"\s*([&|!(),]|[A-Za-z0-9_][A-Za-z0-9_.+@-]*)")


def active(expression: str, envs: Sequence[str]) -> bool:
    """Whether `expression` holds for these envs, as Spring's Profiles.of reads it.

    `&` and `|` must not be mixed without parentheses. Raises ValueError for a malformed expression.
    """
    return _Expression(expression, frozenset(envs)).value()


class _Expression:
    """A recursive descent over the tokens, which evaluates as it goes."""

    def __init__(self, text: str, envs: frozenset[str]) -> None:
        self._tokens = _tokens(text)
        self._envs = envs
        self._position = 0

    def value(self) -> bool:
        outcome = self._sequence(0)
        while self._take(","):
            outcome = self._sequence(0) or outcome
        if self._position < len(self._tokens):
            raise ValueError("malformed profile expression")
        return outcome

    def _sequence(self, depth: int) -> bool:
        operands = [self._operand(depth)]
        operator = next((each for each in "&|" if self._take(each)), None)
        while operator is not None:
            operands.append(self._operand(depth))
            if not self._take(operator):
                break
        if self._peek() in ("&", "|"):
            raise ValueError("& and | need parentheses to be mixed")
        return any(operands) if operator == "|" else all(operands)

    def _operand(self, depth: int) -> bool:
        negated = False
        while self._take("!"):
            negated = not negated
        if self._take("("):
            if depth >= MAX_DEPTH:
                raise ValueError("profile expression nested too deeply")
            outcome = self._sequence(depth + 1)
            if not self._take(")"):
                raise ValueError("a parenthesis is not closed")
            return outcome != negated
        return (self._name() in self._envs) != negated

    def _name(self) -> str:
        name = self._peek()
        if name is None or name in "&|!(),":
            raise ValueError("a profile name is missing")
        self._position += 1
        return name

    def _peek(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self, token: str) -> bool:
        found = self._peek() == token
        self._position += found
        return found


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    text = text.rstrip()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError("a profile expression holds an illegal character")
        tokens.append(match[1])
        position = match.end()
    return tokens
