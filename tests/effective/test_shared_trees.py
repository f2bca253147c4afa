"""What one fold leaves on the expanded documents is right for every other fold in which they take part."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from app.effective import fold, ordered, parse
from app.effective.expand import MapTree, expand
from app.errors import BadConfiguration
from app.model import Effective, Json, Source
from tests.effective.strategies import relaxed

names = st.sampled_from(["a", "b", "c"])
leaves = st.one_of(
    st.integers(0, 3), st.sampled_from(["x", "${a}", "${b.c:none}", "${vault:kv/p#k}", "${a.b}/${vault:kv/q#k}"])
)
nodes: st.SearchStrategy[Json] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(names, inner, max_size=3)),
    max_leaves=10,
)
documents = st.lists(st.dictionaries(names, nodes, max_size=3), min_size=2, max_size=4)


def outcome(sources: list[Source], trees: Mapping[int, MapTree] | None) -> object:
    try:
        found = fold(sources, ("prod",), expanded=expand if trees is None else lambda source: trees[id(source)])
    except BadConfiguration as bad:
        return bad.path, bad.line, bad.reason
    return facts(found)


def facts(found: Effective) -> object:
    """Everything that is known of it, the order of keys too."""
    return repr((found.values, found.origins, found.overridden, found.references, found.paths))


@relaxed
@given(documents, st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True), min_size=2, max_size=5))
def test_a_fold_over_trees_that_others_have_folded_is_as_one_over_its_own(
    files: list[dict[str, Json]], targets: list[list[int]]
) -> None:
    parsed = [parse(f"f{number}.json", json.dumps(each).encode()) for number, each in enumerate(files)]
    sources = ordered(parsed)
    trees = {id(source): expand(source) for source in sources}
    for target in targets:
        mine = [sources[number] for number in target if number < len(sources)]
        assert outcome(mine, trees) == outcome(mine, None)
