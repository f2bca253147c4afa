"""ReverseIndex against the definition of what it finds, for anything that may be put into it and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.model import Target
from app.notify.index import ReverseIndex

TARGETS = [Target(f"service{number}", ("prod",), "main") for number in range(4)]
KEYS = st.frozensets(st.sampled_from("abcdef"))


@given(st.lists(st.tuples(st.sampled_from(TARGETS), KEYS | st.none())), KEYS)
def test_what_depends_on_a_key_is_found_and_what_was_dropped_leaves_nothing(
    steps: list[tuple[Target, frozenset[str] | None]], asked: frozenset[str]
) -> None:
    index: ReverseIndex[str] = ReverseIndex()
    known: dict[Target, frozenset[str]] = {}
    for target, keys in steps:
        if keys is None:
            index.drop(target)
            known.pop(target, None)
        else:
            index.put(target, keys)
            known[target] = keys
    assert index.find(asked) == {target for target, keys in known.items() if keys & asked}
    assert set(index.keys()) == {key for keys in known.values() for key in keys}
    assert set(index.targets()) == set(known)
    for target in TARGETS:
        index.drop(target)
    assert (list(index.keys()), list(index.targets()), bool(index)) == ([], [], False)
