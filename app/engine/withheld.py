"""Heads of the remote that are not served, as no allowed signer has signed them: what an operator is told of them."""

from __future__ import annotations

from collections.abc import Mapping

from app.engine.problems import Problem
from app.engine.world import World


def withheld_problems(world: World, withheld: Mapping[str, str]) -> list[Problem]:
    """`withheld`: label -> the commit at which the remote has it."""
    return [_problem(world, label, commit) for label, commit in sorted(withheld.items())]


def _problem(world: World, label: str, commit: str) -> Problem:
    head = world.heads.get(label)
    return Problem(
        "unsigned",
        "unsigned",
        label=label,
        commit=commit,
        version=head.commit if head is not None else None,
        detail="no allowed signer has signed this commit",
    )
