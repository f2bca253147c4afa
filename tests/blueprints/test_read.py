"""GET /v1/config/{service}/{env}: every query, every header, over HTTP."""

from __future__ import annotations

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.blueprints.conftest import Shop
from tests.serving import VIEW_ALL

CONFIG = {
    "db": {"pool": "9", "url": "postgres://localhost/shop"},
    "hosts": ["a", "b"],
    "greeting": "hällo",
    "log": "info",
    "limits": {"low": 1, "high": 9},
}


def test_the_answer_holds_coordinates_commit_etag_and_configuration(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod")

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert re.fullmatch("[0-9a-f]{32}", body.pop("etag"))
    head = shop.commits.head
    assert body == {"service": "shop", "env": "prod", "label": "main", "version": head, "head": head, "config": CONFIG}


def test_every_answer_with_configuration_is_private_and_says_where_it_comes_from(shop: Shop) -> None:
    headers = shop.serving.get("shop/prod").headers

    assert headers["Cache-Control"] == "no-store, private"
    assert headers["Vary"] == "Authorization, Accept, X-Config-Instance"
    assert headers["X-Config-Version"] == shop.commits.head
    assert re.fullmatch(r"\d+-[0-9a-f]+\.\d+", headers["X-Config-Rev"])
    assert "X-Config-Stale" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("label", "commit"), [("main", "head"), ("v1", "first"), ("feature/x", "feature")])
def test_a_label_is_a_branch_or_a_tag(shop: Shop, label: str, commit: str) -> None:
    body = shop.serving.body("shop/prod", label=label)

    assert (body["label"], body["version"]) == (label, getattr(shop.commits, commit))


def test_an_annotated_tag_stands_at_its_commit(shop: Shop) -> None:
    body = shop.serving.body("shop/prod", label="r1")

    assert body["config"]["db"]["pool"] == "9"
    assert body["version"] not in {shop.commits.first, shop.commits.head}


@pytest.mark.parametrize("name", ["first", "feature"])
def test_a_label_may_be_a_commit_of_any_branch(shop: Shop, name: str) -> None:
    commit = getattr(shop.commits, name)

    assert shop.serving.body("shop/prod", label=commit)["version"] == commit


@pytest.mark.parametrize("label", ["nope", "0" * 40, "refs/heads/main", "MAIN", "v1.0"])
def test_an_unknown_label_is_404(shop: Shop, label: str) -> None:
    answer = shop.serving.get("shop/prod", label=label)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:config-server:unknown-label"


def test_an_unknown_service_gets_the_shared_files(shop: Shop) -> None:
    assert shop.serving.config("stranger/prod") == {"log": "info", "limits": {"low": 1, "high": 9}}


def test_of_several_envs_the_last_one_wins(shop: Shop) -> None:
    assert shop.serving.config("shop/prod,eu")["db"]["pool"] == 11
    assert shop.serving.config("shop/eu,prod")["db"]["pool"] == "9"
    assert shop.serving.config("shop/eu,prod")["region"] == "eu"
    assert shop.serving.body("shop/eu,prod")["env"] == "eu,prod"


def _as_json(text: str) -> Any:
    return json.loads(text)["config"]


READERS = {
    "json": ("application/json", _as_json, CONFIG),
    "yaml": ("application/yaml; charset=utf-8", yaml.safe_load, CONFIG),
}


@pytest.mark.parametrize("name", READERS)
def test_formats_hold_the_whole_configuration(shop: Shop, name: str) -> None:
    media_type, read, expected = READERS[name]
    answer = shop.serving.get("shop/prod", format=name)

    assert answer.headers["Content-Type"] == media_type
    assert read(answer.text) == expected


@pytest.mark.parametrize(
    ("name", "media_type", "line"),
    [
        ("properties", "text/x-java-properties", "db.pool=9"),
        ("env", "text/x-env", "DB_POOL=9"),
        ("toml", "application/toml", 'pool = "9"'),
    ],
)
def test_other_formats_are_chosen_by_query_or_by_accept(shop: Shop, name: str, media_type: str, line: str) -> None:
    by_query = shop.serving.get("shop/prod", format=name)
    by_accept = shop.serving.get("shop/prod", headers={"Accept": f"{media_type}, text/plain;q=0.1"})

    assert by_query.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert line in by_query.text.splitlines()
    assert (by_accept.content, by_accept.headers["ETag"]) == (by_query.content, by_query.headers["ETag"])


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "text/html,*/*;q=0.1", "image/png", ""])
def test_json_is_for_who_asks_for_nothing_that_there_is(shop: Shop, accept: str) -> None:
    assert shop.serving.get("shop/prod", headers={"Accept": accept}).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("accept", ["application/x-yaml", "text/yaml", "application/yaml;q=1, application/json;q=0.5"])
def test_yaml_has_several_names(shop: Shop, accept: str) -> None:
    answer = shop.serving.get("shop/prod", headers={"Accept": accept})

    assert answer.headers["Content-Type"] == "application/yaml; charset=utf-8"


def test_the_query_outranks_the_accept_header(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod", format="env", headers={"Accept": "application/yaml"})

    assert answer.headers["Content-Type"].startswith("text/x-env")


@pytest.mark.parametrize(
    ("key", "value"),
    [("db", CONFIG["db"]), ("db.pool", "9"), ("hosts", ["a", "b"]), ("hosts[1]", "b"), ('["db"].pool', "9")],
)
def test_a_key_picks_one_part(shop: Shop, key: str, value: Any) -> None:
    assert shop.serving.config("shop/prod", key=key) == value


@pytest.mark.parametrize("key", ["nope", "db.nope", "hosts[9]", "hosts.a", "db.pool.x", "[", "db..pool", "a" * 512])
def test_a_key_that_names_nothing_is_404(shop: Shop, key: str) -> None:
    answer = shop.serving.get("shop/prod", key=key)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:config-server:unknown-key"


def test_a_key_that_names_nothing_is_404_whatever_the_caller_holds(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod", key="nope", headers={"If-None-Match": "*"})

    assert answer.status_code == 404


def test_a_key_works_in_every_format(shop: Shop) -> None:
    assert shop.serving.get("shop/prod", key="db", format="properties").text.splitlines()[0] == "pool=9"
    assert shop.serving.get("shop/prod", key="db.pool", format="yaml").text.strip() == "'9'"


def test_explain_tells_where_a_value_comes_from_and_what_it_hides(shop: Shop) -> None:
    explain = shop.serving.body("shop/prod,eu", explain="true")["explain"]

    assert explain["db.pool"] == {
        "origin": "shop-eu.yml:1:12",
        "overridden": ["shop-prod.properties:1:9", "shop.yml:2:9"],
    }
    assert explain["log"] == {"origin": "application.yml:1:6", "overridden": []}
    assert set(explain) >= {"hosts[0]", "hosts[1]", "limits.low"}


@pytest.mark.parametrize("key", ["db", '["db"]'])
def test_explain_of_a_key_tells_of_that_part_only(shop: Shop, key: str) -> None:
    body = shop.serving.body("shop/prod", explain="true", key=key)

    assert set(body["explain"]) == {"db.pool", "db.url"}


def test_explain_is_json_only(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod", explain="true", format="yaml")

    assert (answer.status_code, answer.json()["field"]) == (400, "explain")


def test_flat_writes_key_paths(shop: Shop) -> None:
    assert shop.serving.config("shop/prod", flat="true") == {
        "db.pool": "9",
        "db.url": "postgres://localhost/shop",
        "hosts[0]": "a",
        "hosts[1]": "b",
        "greeting": "hällo",
        "log": "info",
        "limits.low": 1,
        "limits.high": 9,
    }


BAD_QUERIES = [
    ({"format": "xml"}, "format"),
    ({"wait": "51"}, "wait"),
    ({"wait": "-1"}, "wait"),
    ({"wait": "nan"}, "wait"),
    ({"wait": "soon"}, "wait"),
    ({"explain": "perhaps"}, "explain"),
    ({"flat": "2"}, "flat"),
    ({"key": ""}, "key"),
    ({"key": "a" * 513}, "key"),
    ({"unheard": "of"}, "unheard"),
    ({"label": ["a", "b"]}, "label"),
    ({"<script>": "1"}, "query"),
]


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
def test_a_bad_query_is_400_and_names_the_field(shop: Shop, query: dict[str, Any], field: str) -> None:
    answer = shop.serving.get("shop/prod", **query)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["field"] == field


BAD_LABELS = [
    "--output=/tmp/x",
    "-u",
    "--upload-pack=touch /tmp/x",
    "@{upstream}",
    "main@{1}",
    ":/x",
    "main^{/x}",
    "main~1",
    "a..b",
    "HEAD^",
    "a" * 5000,
    "",
    " ",
    "a b",
    "a\nb",
    "a\x00b",
    "a\x7fb",
    "main\u202e",
    "main\u200b",
    "../main",
    "main/..",
    "/main",
    "main/",
    "main.lock",
    "ref:x",
    "*",
    "x[1]",
    "x\\y",
]


@pytest.mark.parametrize("label", BAD_LABELS, ids=lambda label: repr(label[:12]))
def test_an_illegal_label_is_400_and_names_the_field(shop: Shop, label: str) -> None:
    answer = shop.serving.get("shop/prod", label=label)

    assert (answer.status_code, answer.json()["field"]) == (400, "label")


BAD_NAMES = [
    ("-x/prod", "service"),
    (".x/prod", "service"),
    (f"{'a' * 129}/prod", "service"),
    ("a%00b/prod", "service"),
    ("a%0ab/prod", "service"),
    ("pay%E2%80%AE/prod", "service"),
    ("p%C3%A4y/prod", "service"),
    ("a,b/prod", "service"),
    ("%252e%252e/prod", "service"),
    ("shop/-prod", "env"),
    ("shop/prod,", "env"),
    ("shop/,prod", "env"),
    ("shop/prod,prod", "env"),
    ("shop/prod,%2e%2e", "env"),
    ("shop/a b", "env"),
    ("shop/" + ",".join(f"e{number}" for number in range(17)), "env"),
]


@pytest.mark.parametrize(("coordinates", "field"), BAD_NAMES, ids=lambda part: part[:14])
def test_an_illegal_name_is_400_and_names_the_field(shop: Shop, coordinates: str, field: str) -> None:
    answer = shop.serving.get(coordinates)

    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize("path", ["/v1/config/..%2f..%2fetc/prod", "/v1/config//shop/prod", "/v1//config/shop/prod"])
def test_a_path_that_is_not_in_normal_form_leads_nowhere(shop: Shop, path: str) -> None:
    assert shop.serving.ask(path).status_code in {400, 404}


@pytest.mark.parametrize("name", ["jwt", "access_token", "token"])
def test_a_token_in_the_query_is_ignored(shop: Shop, name: str) -> None:
    without = shop.serving.ask("/v1/config/shop/prod", token="", params={name: shop.serving.token()})
    beside = shop.serving.ask("/v1/config/shop/prod", params={name: "rubbish"})

    assert (without.status_code, beside.status_code) == (401, 200)


def raw(shop: Shop, request: str) -> str:
    """The answer's head to a request that no well-behaved client would send."""
    address = urlsplit(shop.serving.server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as line:
        line.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head and (piece := line.recv(65536)):
            head += piece
        return head.decode("latin-1")


class TestEntityTags:
    def test_the_body_is_sent_once(self, shop: Shop) -> None:
        first = shop.serving.get("shop/prod")
        again = shop.serving.get("shop/prod", headers={"If-None-Match": first.headers["ETag"]})

        assert (again.status_code, again.content) == (304, b"")
        kept = ("ETag", "X-Config-Version", "X-Config-Rev", "Cache-Control", "Vary")
        assert {name: again.headers[name] for name in kept} == {name: first.headers[name] for name in kept}
        assert "Content-Type" not in again.headers

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other",W/{} , "third"', "*"])
    def test_if_none_match_takes_weak_tags_lists_and_a_star(self, shop: Shop, form: str) -> None:
        tag = shop.serving.get("shop/prod").headers["ETag"]

        assert shop.serving.get("shop/prod", headers={"If-None-Match": form.format(tag)}).status_code == 304

    @pytest.mark.parametrize("given", ['"other"', "rubbish", '""', "W/"])
    def test_another_tag_gets_the_body(self, shop: Shop, given: str) -> None:
        assert shop.serving.get("shop/prod", headers={"If-None-Match": given}).status_code == 200

    def test_views_formats_and_queries_have_tags_of_their_own(self, shop: Shop) -> None:
        queries: list[dict[str, str]] = [
            {},
            {"format": "yaml"},
            {"format": "env"},
            {"key": "db"},
            {"key": "db.pool"},
            {"flat": "true"},
            {"explain": "true"},
            {"format": "yaml", "flat": "true"},
        ]
        tags = [shop.serving.ask("/v1/config/shop/prod", params=query).headers["ETag"] for query in queries]
        tags.append(shop.serving.get("shop/prod", token=shop.serving.token(VIEW_ALL)).headers["ETag"])

        assert len(set(tags)) == len(tags)

    def test_the_same_question_has_the_same_tag_however_it_is_asked(self, shop: Shop) -> None:
        tags = [
            shop.serving.ask("/v1/config/shop/prod", params=query).headers["ETag"]
            for query in ({}, {"format": "json"}, {"label": "main"}, {"explain": "false"}, {"wait": "0"})
        ]

        assert len(set(tags)) == 1


class TestRequestId:
    def test_one_is_taken(self, shop: Shop) -> None:
        answer = shop.serving.get("nope/prod", label="nope", headers={"X-Request-ID": "abc-1.2:3/4=5"})

        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "abc-1.2:3/4=5"

    @pytest.mark.parametrize("given", [None, "a" * 300, "a b", "a;b", "\u202e".encode(), ""])
    def test_one_is_made_for_none_or_an_unfit_one(self, shop: Shop, given: str | bytes | None) -> None:
        headers: dict[str, Any] = {} if given is None else {"X-Request-ID": given}
        answer = shop.serving.get("shop/prod", headers=headers)

        assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])

    def test_a_newline_in_one_forges_no_header(self, shop: Shop) -> None:
        head = raw(shop, "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n X-Forged: 1\r\n\r\n")

        assert "\r\nX-Forged" not in head
        assert re.search("\r\nX-Request-ID: [0-9a-f]{16}\r\n", head) or head.startswith("HTTP/1.1 400")


class TestSeenRevision:
    def test_what_is_installed_is_answered_at_once(self, shop: Shop) -> None:
        rev = shop.serving.get("shop/prod").headers["X-Config-Rev"]

        assert shop.serving.get("shop/prod", headers={"X-Config-Rev": rev}).status_code == 200

    @pytest.mark.parametrize("coordinates", ["shop/prod", "shop/prod/logback.xml"])
    def test_who_has_seen_more_is_told_to_come_back(self, shop: Shop, coordinates: str) -> None:
        epoch, _, seq = shop.serving.get("shop/prod").headers["X-Config-Rev"].rpartition(".")
        answer = shop.serving.get(coordinates, headers={"X-Config-Rev": f"{epoch}.{int(seq) + 1}"})

        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:config-server:behind"
        assert int(answer.headers["Retry-After"]) >= 1

    @pytest.mark.parametrize("rev", ["99-abcdef01.1000000", "old.1"])
    def test_a_revision_of_another_epoch_says_nothing(self, shop: Shop, rev: str) -> None:
        assert shop.serving.get("shop/prod", headers={"X-Config-Rev": rev}).status_code == 200

    @pytest.mark.parametrize("rev", ["", "rubbish", "1-abc.", ".5", "1-abc.-1", "1-abc." + "9" * 30, "1-abc.1 2"])
    def test_what_is_no_revision_is_400(self, shop: Shop, rev: str) -> None:
        answer = shop.serving.get("shop/prod", headers={"X-Config-Rev": rev})

        assert (answer.status_code, answer.json()["field"]) == (400, "X-Config-Rev")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/config/shop/prod"), ("GET", "/v1/admin/refresh")])
def test_another_method_is_405_and_names_the_allowed_ones(shop: Shop, method: str, path: str) -> None:
    answer = shop.serving.ask(path, method=method)

    assert answer.status_code == 405
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Allow"]


def test_head_is_answered_like_get_without_a_body(shop: Shop) -> None:
    whole = shop.serving.get("shop/prod")
    head = shop.serving.ask("/v1/config/shop/prod", method="HEAD")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == whole.headers["ETag"]


class TestOrigins:
    def test_a_listed_origin_may_read_our_headers(self, shop: Shop) -> None:
        answer = shop.serving.get("shop/prod", headers={"Origin": "https://ok.example"})

        assert answer.headers["Access-Control-Allow-Origin"] == "https://ok.example"
        assert "X-Config-Rev" in answer.headers["Access-Control-Expose-Headers"]
        assert "Authorization" in answer.headers["Vary"]

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://ok.example.evil"])
    def test_no_other_origin_is_let_in(self, shop: Shop, origin: str) -> None:
        answer = shop.serving.get("shop/prod", headers={"Origin": origin})

        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_a_preflight_needs_no_token(self, shop: Shop) -> None:
        asked = {"Origin": "https://ok.example", "Access-Control-Request-Method": "GET"}
        answer = shop.serving.ask("/v1/config/shop/prod", token="", method="OPTIONS", headers=asked)

        assert answer.status_code == 204
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def assert_problem(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:config-server:{kind}"
