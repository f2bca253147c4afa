"""Hypothesis strategies for documents."""

from __future__ import annotations

from hypothesis import strategies as st

from app.model import Json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
#: Strings that look like something else to some reader.
tricky = st.sampled_from(
    "yes no on off y n Y N true null ~ = << 0777 0o17 1_000 1e3 1:30 .5 -.5 1. 2024-01-31 0x1F .inf .nan - -- --- ... "
    "# a: a:b ? ! & * | > % @ ` { } [ ] , ' \" \\ $ ${x} $(x) `x` !x a'b".split(" ")
    + ["", " ", " a", "a ", "a: b", "a #b", "- a", "a\nb", "\n", "a\n", "\t", "\u2028", "\x85", "\x7f", "\ufeff", "😀"]
    + ["x" * 200, "word " * 60, "'\"$`\\", "\r\n", "a\rb"]
)
integers = st.one_of(st.integers(-(10**18), 10**18), st.sampled_from([2**53, 2**63 - 1, 10**30, -(10**30)]))
scalars = st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), texts, tricky)
keys = st.one_of(texts, tricky)
nodes: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(keys, children, max_size=4)),
    max_leaves=12,
)
documents: st.SearchStrategy[dict[str, Json]] = st.dictionaries(keys, nodes, max_size=5)
