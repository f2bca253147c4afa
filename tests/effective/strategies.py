"""Hypothesis strategies for documents."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from app.model import Json

#: No deadline: the machine may be busy, and it is not speed that is tested here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
relaxed = settings(unhurried, max_examples=60)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
#: Strings that look like something else to some reader.
_WORDS = """
yes no on off y n Y N true null ~ = << 0777 0o17 1_000 1e3 1:30 .5 -.5 1. 2024-01-31 0x1F .inf .nan - -- --- ...
# a: a:b ? ! & * | > % @ ` { } [ ] , ' " \\ $ ${x} $(x) `x` !x a'b
"""
_SPACED = [
    "",
    " ",
    " a",
    "a ",
    "a: b",
    "a #b",
    "- a",
    "a\nb",
    "\n",
    "a\n",
    "\t",
    "\r\n",
    "a\rb",
    "word " * 60,
    "x" * 200,
]
_ODD = ["\u2028", "\x85", "\x7f", "\ufeff", "😀", "'\"$`\\"]
tricky = st.sampled_from([*_WORDS.split(), *_SPACED, *_ODD])
integers = st.one_of(st.integers(-(10**18), 10**18), st.sampled_from([2**53, 2**63 - 1, 10**30, -(10**30)]))
scalars = st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), texts, tricky)
keys = st.one_of(texts, tricky)
nodes: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(keys, children, max_size=4)),
    max_leaves=12,
)
documents: st.SearchStrategy[dict[str, Json]] = st.dictionaries(keys, nodes, max_size=5)
