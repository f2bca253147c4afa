"""Whatever is asked for, by any method and in any spelling: without a token nothing is given but what is public."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from flask import request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.blueprints.conftest import Shop

#: All that anybody may see. `hooks.git` takes a signature instead, and /metrics here a token.
PUBLIC = {"health.live", "health.ready", "health.report", "docs.openapi", "docs.page", "docs.asset"}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
SEGMENTS = st.one_of(
    st.sampled_from(["shop", "prod", "main", "page.css", "logback.xml", "..", "%2e%2e", "*", "", "shop,other"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12).map(lambda text: quote(text)),
)
SPELLINGS: list[Callable[[str], str]] = [
    lambda path: path,
    lambda path: path + "/",
    lambda path: "/" + path,
    lambda path: path.upper(),
    lambda path: path.replace("/", "//"),
    lambda path: path + "?access_token=x&ticket=x&jwt=x",
    lambda path: "/docs/.." + path,
    lambda path: "/health/%2e%2e" + path,
    lambda path: path + ";/health",
    lambda path: path + "%00",
]
HEADERS = st.sampled_from(
    [
        {},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "X-Forwarded-Prefix": "/health"},
        {"X-Original-URL": "/health", "X-Rewrite-URL": "/health"},
        {"X-HTTP-Method-Override": "GET"},
        {"Script-Name": "/health", "SCRIPT_NAME": "/health"},
        {"Authorization": "Bearer null"},
        {"Origin": "null"},
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), method=st.sampled_from(METHODS), spelling=st.sampled_from(SPELLINGS), headers=HEADERS)
def test_every_route_is_guarded_or_stands_in_a_short_list(
    shop: Shop, data: st.DataObject, method: str, spelling: Callable[[str], str], headers: dict[str, str]
) -> None:
    application = shop.serving.server.app
    rule = data.draw(st.sampled_from(sorted(application.url_map.iter_rules(), key=str)))
    path = re.sub("<[^>]*>", lambda _: data.draw(SEGMENTS), rule.rule)
    asked = spelling(path)
    with application.test_client() as client:
        answer = client.open(f"http://localhost{asked}", method=method, headers=headers)
        reached = request.endpoint
    if answer.status_code < 400:
        told = reached in PUBLIC or (method == "OPTIONS" and not answer.data)  # the methods that there are
        assert told, f"{method} {asked} was answered {answer.status_code} without a token"
    else:
        assert answer.status_code in {400, 401, 404, 405}, answer.data
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert b"Traceback" not in answer.data
