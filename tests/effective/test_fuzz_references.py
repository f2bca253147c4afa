"""Whatever stands in a file, what is taken for a reference names a plain path, and nothing else is lost or changed."""

from __future__ import annotations

import posixpath
import re

from hypothesis import example, given
from hypothesis import strategies as st

from app.effective import MalformedReference, parse_template
from app.model import Reference, Template
from tests.effective.strategies import unhurried

PIECES = st.sampled_from(
    ["${vault:", "$${", "${", "}", "#", "@", "/", "..", ".", "%2e%2e", "%2f", "//", "kv", "a", "key", "1", "0", "*",
     "\\", "\x00", "\n", "é", "٣", "kv/pay/db#password", "${vault:kv/pay/db#password}", "${vault:kv/pay/db#password@3}"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text(max_size=60))


@unhurried
@given(TEXTS)
@example("${vault:kv/a/../b#c}")
@example("$${vault:kv/../b#c}${vault:kv/a#b}")
def test_any_text_is_read_whole_or_refused(text: str) -> None:
    try:
        told = parse_template(text)
    except MalformedReference:
        assert "${vault:" in text
        return
    parts = told.parts if isinstance(told, Template) else (told,)
    assert "".join(part.text if isinstance(part, Reference) else part for part in parts) == text
    for part in parts:
        if isinstance(part, Reference):
            assert is_plain(part)
        else:
            assert not re.search(r"(?<!\$)\$\{vault:", part)


def is_plain(reference: Reference) -> bool:
    """Nothing in the path that a server, a proxy or a library could read as another path."""
    segments = reference.path.split("/")
    return (
        posixpath.normpath(reference.path) == reference.path
        and 0 < len(segments) <= 15
        and all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", segment, re.ASCII) for segment in segments)
    )
