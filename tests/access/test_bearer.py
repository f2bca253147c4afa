"""Reading the Authorization header."""

from __future__ import annotations

import pytest

from app.access.bearer import bearer_token
from app.errors import Unauthenticated


@pytest.mark.parametrize("header", ["Bearer a.b-c_d.e", "bearer a.b-c_d.e", "BEARER a.b-c_d.e", "bEaReR a.b-c_d.e"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert bearer_token(header) == "a.b-c_d.e"


@pytest.mark.parametrize("header", [None, "", " "])
def test_no_header_is_no_token(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(header)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer  a.b.c",
        "Bearer\ta.b.c",
        " Bearer a.b.c",
        "Bearer a.b.c ",
        "Bearer a.b.c\n",
        "Bearer a.b.c d",
        "Bearer a.b.c,Bearer d.e.f",
        "Bearer a.b.c, Basic x",
        'Bearer "a.b.c"',
        "Bearera.b.c",
        "Basic YTpi",
        "Ticket abc",
        "a.b.c",
        "Bearer päy",
        "Bearer =",
        "Bearer a=b",
    ],
)
def test_anything_beside_one_token_is_refused_without_quoting_it(header: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer_token(header)
    assert "a.b.c" not in str(refused.value)
