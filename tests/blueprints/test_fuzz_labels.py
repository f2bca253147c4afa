"""Whatever is given as a label is a label that there is, or refused: it reaches Git as an id or not at all."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.blueprints.conftest import Shop

PIECES = st.sampled_from(
    ["main", "v1", "r1", "feature/x", "HEAD", "refs/heads/", "FETCH_HEAD", "--output=/tmp/x", "--upload-pack=touch x",
     "-", "..", "^", "~1", "@{upstream}", "@{0}", "^{tree}", ":/", ":", "/", "\\", "*", " ", "\n", "\x00", ".lock",
     "%2e%2e", "é", "\u202e", "0" * 40, "a" * 39, "shop.yml"]
)  # fmt: skip
LABELS = st.one_of(st.lists(PIECES, min_size=1, max_size=4).map("".join), st.text(max_size=40))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LABELS)
@example("main:shop.yml")
@example("@{upstream}")
@example(":/second")
def test_a_label_is_found_by_its_whole_name_or_not_at_all(shop: Shop, label: str) -> None:
    commits = shop.commits
    branches = {"main", "feature/x", "v1", "r1"}
    answer = shop.serving.get("shop/prod", label=label.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    if label in branches:
        assert answer.status_code == 200
    else:
        assert answer.status_code in {400, 404}, (label, answer.text)
        assert not any(word in answer.text for word in ("fatal", "git ", "refs/", str(Path.home()), commits.head))
