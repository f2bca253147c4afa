"""Around the answers: labels, conditional requests, errors, and what the server remembers."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.blueprints.spring import V2, shown_url
from devstack.issuer import LocalIssuer
from tests.serving import READ_ALL, VIEW_ALL, Serving, new_server, serving
from tests.support import eventually

ENCRYPTED = "682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"


def environment(serving: Serving, path: str, **options: Any) -> dict[str, Any]:
    answer = serving.ask(f"/spring{path}", **options)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def merged(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in reversed(body["propertySources"]):
        found |= source["source"]
    return found


def test_without_a_label_it_is_the_default_one_and_told_as_null(boot: Serving) -> None:
    body = environment(boot, "/foo/dev")
    assert (body["label"], body["version"], body["state"]) == (None, boot.origin.pushed(), "")
    assert [each["name"] for each in body["propertySources"]] == [
        "origin.git/foo-dev.yml",
        "origin.git/application-dev.yml",
        "origin.git/foo.properties",
        "origin.git/application.yml",
    ]
    assert merged(body)["foo"] == "from foo development"


def test_a_label_with_a_slash_is_written_with_parentheses(boot: Serving) -> None:
    body = environment(boot, "/foo/dev/release(_)1")
    assert (body["label"], merged(body)["foo"]) == ("release/1", "released")
    assert boot.ask("/spring/release(_)1/foo-dev.json").json()["foo"] == "released"


def test_a_tag_and_a_commit_are_labels_too(boot: Serving) -> None:
    boot.origin.tag("v1")
    boot.refresh()
    assert environment(boot, "/foo/dev/v1")["version"] == boot.origin.pushed()
    assert environment(boot, f"/foo/dev/{boot.origin.pushed('stable')}")["label"] == boot.origin.pushed("stable")


def test_of_several_labels_the_last_is_the_strongest(boot: Serving) -> None:
    body = environment(boot, "/foo/dev/main,stable")
    assert body["version"] == f"{boot.origin.pushed()},{boot.origin.pushed('stable')}"
    assert (merged(body)["foo"], merged(body)["bar"]) == ("stable", "spam")
    assert merged(environment(boot, "/foo/dev/stable,main"))["foo"] == "from foo development"


def test_default_label_of_a_file_is_asked_for_by_the_query(boot: Serving) -> None:
    expected = "listen 8081; # from foo development\n"
    assert boot.ask("/spring/foo/dev/nginx.conf?useDefaultLabel").text == expected
    assert boot.ask("/spring/foo/dev/main/nginx.conf").text == expected
    assert boot.ask("/spring/foo/dev/stable/nginx.conf").text == "listen 80; # stable\n"


def test_bytes_come_as_they_are(boot: Serving) -> None:
    answer = boot.ask("/spring/foo/dev/main/key.bin", headers={"Accept": "application/octet-stream"})
    assert answer.content == b"\x00\xff${foo}"
    assert boot.ask("/spring/foo/dev/main/key.bin").status_code == 500


@pytest.mark.parametrize("path", ["/foo/dev", "/foo/dev/stable", "/foo-dev.yml", "/foo/dev/main/nginx.conf"])
def test_what_the_caller_holds_is_not_sent_again(boot: Serving, path: str) -> None:
    first = boot.ask(f"/spring{path}")
    again = boot.ask(f"/spring{path}", headers={"If-None-Match": first.headers["ETag"]})
    other = boot.ask(f"/spring{path}", headers={"If-None-Match": '"other"'})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
    for name in ("ETag", "X-Config-Version", "X-Config-Rev", "Vary"):
        assert again.headers[name] == first.headers[name]


def test_each_representation_has_a_tag_of_its_own(boot: Serving) -> None:
    view = boot.token(VIEW_ALL)
    tags = [
        boot.ask("/spring/foo/dev").headers["ETag"],
        boot.ask("/spring/foo/dev", headers={"Accept": V2}).headers["ETag"],
        boot.ask("/spring/foo/dev", token=view).headers["ETag"],
        boot.ask("/spring/foo/dev/main").headers["ETag"],
        boot.ask("/spring/foo,bar/dev").headers["ETag"],
        boot.ask("/spring/foo-dev.yml").headers["ETag"],
        boot.ask("/spring/foo-dev.json").headers["ETag"],
        boot.ask("/spring/foo-dev.json?resolvePlaceholders=false").headers["ETag"],
    ]
    assert len(set(tags)) == len(tags)


def test_errors_have_springs_shape(boot: Serving) -> None:
    answer = boot.ask("/spring/foo/dev/nowhere")
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert set(body) == {"timestamp", "status", "error", "message", "path"}
    assert (body["status"], body["error"], body["path"]) == (404, "Not Found", "/spring/foo/dev/nowhere")
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert boot.ask("/spring/no/such/route/at/all").json()["error"] == "Not Found"
    assert boot.ask("/spring/foo", method="GET").json()["status"] == 404
    assert boot.ask("/spring/foo/dev", method="PUT").json()["status"] == 405
    assert boot.ask("/v1/config/foo/dev?label=nowhere").json()["type"] == "urn:config-server:unknown-label"


def test_a_bad_commit_keeps_the_last_good_configuration(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"foo.yml": "a: 1\n"}) as running:
        good = environment(running, "/foo/dev")["version"]
        bad = running.push({"foo.yml": "a: [\n"})
        answer = running.ask("/spring/foo/dev")
        assert (answer.status_code, answer.json()["version"]) == (200, good)
        assert answer.headers["X-Config-Stale"].startswith("invalid;")
        assert f'commit="{bad}"' in answer.headers["X-Config-Stale"]
        assert running.ask("/health").json()["parts"]["targets"]["status"] == "degraded"
        status = running.ask("/v1/admin/problems", token=running.token(VIEW_ALL)).json()
        assert [each["file"] for each in status["problems"]] == ["foo.yml"]
        running.push({"foo.yml": "a: 2\n"})
        assert merged(environment(running, "/foo/dev"))["a"] == 2


def test_what_a_schema_refuses_is_held_back_here_too(tmp_path: Path, issuer: LocalIssuer) -> None:
    schema = {"properties": {"a": {"maximum": 5}}}
    files = {"foo.yml": "a: 1\n", ".config-server/schemas/foo.json": json.dumps(schema)}
    with serving(tmp_path, issuer, files) as running:
        running.push({"foo.yml": "a: 9\n"})
        assert merged(environment(running, "/foo/dev"))["a"] == 1
        assert running.ask("/spring/foo/dev").headers["X-Config-Stale"].startswith("invalid;")


def test_without_a_clone_it_is_503_and_never_404(tmp_path: Path, issuer: LocalIssuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(scope=READ_ALL)}"}
    with new_server(tmp_path, issuer, str(tmp_path / "nowhere.git")) as server:
        server.start()
        for path in ("/foo/dev", "/foo/dev/main", "/foo-dev.yml", "/foo/dev/main/x.txt"):
            answer = httpx.get(f"{server.url}/spring{path}", headers=headers, trust_env=False, timeout=60)
            assert (answer.status_code, answer.json()["status"]) == (503, 503)
            assert int(answer.headers["Retry-After"]) >= 1


def test_listed_envs_hold_here_and_default_is_one_of_them(tmp_path: Path, issuer: LocalIssuer) -> None:
    files = {"foo.yml": "a: 1\n", "foo-default.yml": "a: 2\n", "foo-dev.yml": "a: 3\n"}
    with serving(tmp_path, issuer, files, envs=("dev",), spring_prefix="", continue_on_missing_label=True) as running:

        def value(path: str) -> Any:
            answer = running.ask(path)
            return merged(answer.json())["a"] if answer.status_code == 200 else answer.status_code

        assert (value("/foo/default"), value("/foo/dev"), value("/foo/prod")) == (2, 3, 404)
        assert (value("/foo-dev/default"), value("/x,foo-dev/dev"), value("/foo-default/dev")) == (404, 404, 404)
        assert (value("/foo/dev/nowhere,main"), value("/foo/dev/nowhere")) == (3, 404)
        # Below an empty prefix the server's other paths are what they are.
        assert running.config("foo/dev") == {"a": 3}
        assert running.ask("/v1/nothing").json()["type"] == "urn:config-server:not-found"
        assert running.ask("/v1/foo-dev.yml").status_code == 404
        assert running.ask("/health/ready", token="").status_code == 200
        assert running.ask("/foo-dev.properties").text == "a: 3"


def test_monitor_asks_for_a_fetch_and_names_who_may_be_concerned(boot: Serving) -> None:
    def told(body: bytes, **headers: str) -> Any:
        signed = "sha256=" + hmac.digest(b"hook-secret", body, hashlib.sha256).hex()
        given = {"X-Hub-Signature-256": signed, "Content-Type": "application/json", **headers}
        answer = boot.ask("/spring/monitor", method="POST", token="", content=body, headers=given)
        return answer.json() if answer.status_code == 200 else answer.status_code

    before = boot.server.services.hints.last()
    push = {"commits": [{"added": ["a-b-dev.yml"], "modified": ["x/application-dev.yml"], "removed": ["c.properties"]}]}
    assert told(json.dumps(push).encode()) == ["a", "a-b", "a-b-dev", "*", "c"]
    assert told(b'{"path": "foo.yml"}') == ["foo"]
    assert told(b'{"path": ["foo.yml", "bar"]}') == ["foo", "bar"]
    assert told(b"path=foo-dev.yml", **{"Content-Type": "application/x-www-form-urlencoded"}) == ["foo", "foo-dev"]
    assert told(b"nonsense") == []
    assert len(told(json.dumps({"path": "-".join("a" * 5000)}).encode())) <= 21
    assert told(b"{}", **{"X-Hub-Signature-256": "sha256=00"}) == 401
    assert boot.server.services.hints.last() > before


@pytest.mark.parametrize(
    ("repo_url", "shown"),
    [
        ("https://user@git.example.org/team/config.git", "https://git.example.org/team/config.git"),
        ("https://git.example.org/config?token=x", "https://git.example.org/config"),
        ("ssh://git@git.example.org:22/config.git", "ssh://git.example.org:22/config.git"),
        ("git@git.example.org:team/config.git", "git@git.example.org:team/config.git"),
        ("/srv/git/config.git", "config.git"),
        ("file:///srv/git/config.git/", "config.git"),
        ("../config", "config"),
    ],
)
def test_sources_are_called_after_the_repository_and_never_after_a_folder_here(repo_url: str, shown: str) -> None:
    assert shown_url(repo_url) == shown


def test_read_secrets_are_on_record(boot: Serving) -> None:
    assert merged(environment(boot, "/encrypted/dev", token=boot.token(READ_ALL)))["password"] == "mysecret"
    boot.server.services.audit.flush_due(time.time() + 120)
    eventually(lambda: [line for line in boot.trail() if '"target":"encrypted/dev/main"' in line])
    assert not [line for line in boot.trail() if "mysecret" in line]
