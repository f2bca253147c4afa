"""Who may read by Spring's routes, how a token may come, and what hostile paths lead to."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.serving import READ_ALL, VIEW_ALL, Serving, serving
from tests.spring.hostile import HOSTILE, assert_leads_nowhere

VAULT_TOKEN = "hvs.CAESIJlU9JMYEhOPYv4igdhm9PnZDrabYTobQ4Ymnlq1qY"
CIPHER = "{cipher}682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def asked(serving: Serving, headers: dict[str, str], path: str = "/foo/dev", method: str = "GET") -> httpx.Response:
    return serving.ask(f"/spring{path}", token="", method=method, headers=headers)


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer {}"),
        ("Authorization", "bearer {}"),
        ("X-Config-Token", "{}"),
        ("X-Config-Token", "Bearer {}"),
        ("X-Auth-Token", "{}"),
        ("x-auth-token", "Bearer {}"),
    ],
    ids=" ".join,
)
def test_a_token_may_come_in_each_of_these(boot: Serving, header: tuple[str, str]) -> None:
    name, form = header
    assert asked(boot, {name: form.format(boot.token())}).status_code == 200
    assert asked(boot, {name: form.format(boot.token("config:read:other"))}).status_code == 403
    assert asked(boot, {name: form.format(boot.token()[:-4] + "AAAA")}).status_code == 401


def test_it_may_be_the_password_of_basic_on_get_alone(boot: Serving) -> None:
    token = boot.token(f"{READ_ALL} config:encrypt")
    assert asked(boot, {"Authorization": basic(token)}).status_code == 200
    assert asked(boot, {"Authorization": basic(token)}, "/encrypt", "POST").status_code == 401
    assert asked(boot, {"Authorization": f"Bearer {token}"}, "/encrypt", "POST").status_code == 200
    assert boot.ask("/v1/config/foo/dev", token="", headers={"Authorization": basic(token)}).status_code == 401


def test_a_password_or_a_vault_token_beside_ours_does_no_harm(boot: Serving) -> None:
    token = boot.token()
    assert asked(boot, {"Authorization": basic("hunter2"), "X-Config-Token": token}).status_code == 200
    assert asked(boot, {"Authorization": f"Bearer {token}", "X-Config-Token": VAULT_TOKEN}).status_code == 200
    assert asked(boot, {"X-Auth-Token": token, "X-Config-Token": VAULT_TOKEN}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Config-Token": VAULT_TOKEN},
        {"Authorization": basic("hunter2")},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic //8="},
        {"Authorization": basic("a.b.c")},
        {"Authorization": "Digest x"},
        {"X-Config-Token": "a.b.c"},
        {"X-Other-Token": "a.b.c"},
    ],
    ids=str,
)
def test_without_ours_it_is_401_and_says_how(boot: Serving, headers: dict[str, str]) -> None:
    answer = asked(boot, headers)
    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_vault_token_is_neither_logged_nor_told(boot: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    answer = asked(boot, {"X-Config-Token": VAULT_TOKEN})
    out = "".join(capfd.readouterr())
    trail = "".join(path.read_text() for path in boot.server.services.settings.audit_path.glob("*.jsonl"))
    assert "/spring/<name>/<profiles>" in out
    assert VAULT_TOKEN not in out + trail + answer.text + str(answer.headers)


def test_every_name_and_every_profile_takes_a_grant(boot: Serving) -> None:
    def status(path: str, scope: str) -> int:
        return boot.ask(f"/spring{path}", token=boot.token(scope)).status_code

    assert status("/foo/dev", "config:read:foo") == 200
    assert status("/foo,bar/dev", "config:read:foo") == 403
    assert status("/foo,bar/dev", "config:read:foo config:view:bar") == 200
    assert status("/foo/dev,prod", "config:read:foo/dev") == 403
    assert status("/foo-dev,prod.yml", "config:read:foo/dev") == 403
    assert status("/foo/default", "config:read:foo/dev") == 403
    assert status("/foo/dev/main/nginx.conf", "config:read:bar") == 403
    assert status("/team(_)foo/dev", "config:read:*/* config:read:team*") == 403
    assert status("/team(_)foo/dev", "config:view") == 200


def test_what_one_may_not_see_and_what_does_not_exist_look_alike(boot: Serving) -> None:
    token = boot.token("config:read:other")
    answers = [boot.ask(f"/spring/{name}/dev", token=token).json() for name in ("foo", "no-such-service")]
    assert [(each["status"], each["message"]) for each in answers] == [(403, answers[0]["message"])] * 2


def test_who_may_only_view_gets_secrets_masked(boot: Serving) -> None:
    token = boot.token(VIEW_ALL)
    sources = boot.ask("/spring/encrypted/dev", token=token).json()["propertySources"]
    assert {"name": "origin.git/encrypted.yml", "source": {"password": "******"}} in sources
    assert boot.ask("/spring/encrypted-dev.properties", token=token).text.splitlines()[-1] == "password: ******"
    both = boot.token("config:read:foo config:view:encrypted")
    assert "mysecret" not in boot.ask("/spring/foo,encrypted/dev", token=both).text


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_lead_nowhere(boot: Serving, path: str) -> None:
    token = boot.token("config:view config:read:*/*")
    assert_leads_nowhere(boot.server.url, path, token, str(boot.server.services.settings.data_dir))


def test_secrets_of_a_branch_stay_as_they_are_written(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/foo/dev/db", {"password": "s3cret-of-foo", "map": {"a": 1, "b": ["x"]}})
    bao.put("services/other/dev/db", {"password": "s3cret-of-other"})
    reference = "${vault:kv/services/foo/dev/db#password}"
    files = {
        "foo.yml": f"db:\n  password: {reference}\n  url: u:{reference}@h\n"
        "  all: ${vault:kv/services/foo/dev/db#map}\ncopy: ${db.password}\n",
        "deputy.yml": "x: ${vault:kv/services/other/dev/db#password}\n",
        "x.txt": f"${{copy}} {reference}",
    }
    key = tmp_path / "key"
    key.write_text("foo")
    with serving(tmp_path, issuer, files, vault=bao, encrypt_key_file=key) as running:
        token = running.token(f"{READ_ALL} config:view")
        main = running.ask("/spring/foo/dev", token=token).json()["propertySources"][0]["source"]
        assert main == {
            "db.password": "s3cret-of-foo",
            "db.url": "u:s3cret-of-foo@h",
            "db.all.a": 1,
            "db.all.b[0]": "x",
            "copy": "${db.password}",
        }
        assert running.ask("/spring/foo-dev.json", token=token).json()["copy"] == "s3cret-of-foo"
        assert running.ask("/spring/foo/dev/main/x.txt", token=token).text == f"s3cret-of-foo {reference}"
        assert running.ask("/spring/deputy/dev", token=token).status_code == 422
        assert running.ask("/spring/deputy,foo/dev", token=token).status_code == 422

        running.origin.branch("evil")
        running.push({"foo.yml": f"db.password: {reference}\nbanner: {reference}\nold: '{CIPHER}'\n"})
        evil = running.ask("/spring/foo/dev/evil", token=token).json()["propertySources"][0]["source"]
        assert evil == {"db.password": reference, "banner": reference, "old": CIPHER}
        mixed = running.ask("/spring/main,evil/foo-dev.json", token=token).json()
        assert (mixed["banner"], mixed["db"]["password"], mixed["old"]) == (reference, reference, CIPHER)
        assert mixed["db"]["url"] == "u:s3cret-of-foo@h"

        masked = running.ask("/spring/foo-dev.json", token=running.token(VIEW_ALL)).json()
        assert masked == {"db": {"password": "******", "url": "******", "all": "******"}, "copy": "******"}
