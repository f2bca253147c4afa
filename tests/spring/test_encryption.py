"""/encrypt, /decrypt and /key in both dialects, and `{cipher}` values and overrides for the callers of /v1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.spring.conftest import KEY

ENCRYPTED = "682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"
FORM = "application/x-www-form-urlencoded"
GRANTS = "config:encrypt config:decrypt"


def posted(serving: Serving, path: str, body: bytes, kind: str = "text/plain", scope: str = GRANTS) -> httpx.Response:
    headers = {"Content-Type": kind}
    return serving.ask(path, method="POST", token=serving.token(scope), content=body, headers=headers)


@pytest.mark.parametrize("target", ["", "/foo/dev"])
@pytest.mark.parametrize("kind", ["text/plain", FORM])
def test_what_is_encrypted_is_decrypted_again(boot: Serving, target: str, kind: str) -> None:
    encrypted = posted(boot, f"/spring/encrypt{target}", b"a secret & more", kind)
    assert encrypted.headers["Content-Type"] == "text/plain; charset=utf-8"
    decrypted = posted(boot, f"/spring/decrypt{target}", encrypted.content, kind)
    assert (encrypted.status_code, decrypted.text) == (200, "a secret & more")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"{cipher}" + ENCRYPTED.encode(), "text/plain", "mysecret"),
        (b"{key:one}" + ENCRYPTED.encode(), "text/plain", "mysecret"),
        (ENCRYPTED.encode() + b"=", FORM, "mysecret"),
    ],
)
def test_a_text_is_decrypted_as_clients_send_it(boot: Serving, body: bytes, kind: str, text: str) -> None:
    assert posted(boot, "/spring/decrypt", body, kind).text == text


def test_what_names_a_key_is_given_back_before_the_text(boot: Serving) -> None:
    answer = posted(boot, "/spring/encrypt", b"{key:one}{plain}{x}abc").text
    assert answer.startswith("{key:one}")
    assert posted(boot, "/spring/decrypt", answer.encode()).text == "{x}abc"
    encoded = posted(boot, "/spring/encrypt", b"a%20b+c=", FORM)
    assert posted(boot, "/spring/decrypt", encoded.content).text == "a b c"


@pytest.mark.parametrize("body", [b"", b"00", b"nonsense", ENCRYPTED[:-2].encode(), ENCRYPTED.encode() + b"=="])
def test_garbage_is_400_in_springs_words(boot: Serving, body: bytes) -> None:
    answer = posted(boot, "/spring/decrypt", body)
    assert (answer.status_code, answer.json()["status"]) == (400, "INVALID")


def test_bodies_that_are_no_text_or_too_large_are_refused(boot: Serving) -> None:
    assert posted(boot, "/spring/encrypt", b"\xff\xfe").status_code == 400
    assert posted(boot, "/spring/encrypt", bytes(2 << 20)).status_code == 413


def test_status_and_key_are_told_in_springs_words(boot: Serving) -> None:
    assert boot.ask("/spring/encrypt/status").json() == {"status": "OK"}
    for path in ("/key", "/key/foo/dev"):
        answer = boot.ask(f"/spring{path}")
        assert (answer.status_code, answer.json()["status"]) == (404, "NOT_FOUND")


def test_each_takes_its_permission(boot: Serving) -> None:
    assert posted(boot, "/spring/encrypt", b"x", scope="config:decrypt config:write").status_code == 403
    assert posted(boot, "/spring/decrypt", ENCRYPTED.encode(), scope="config:encrypt config:write").status_code == 403
    assert posted(boot, "/spring/encrypt", b"x", scope="config:encrypt:foo").status_code == 403


def test_v1_has_the_same_as_json(boot: Serving) -> None:
    def told(path: str, value: object) -> Any:
        answer = boot.ask(f"/v1/admin/{path}", method="POST", token=boot.token(GRANTS), json={"value": value})
        return answer.json() if answer.status_code == 200 else answer.json()["type"]

    encrypted = told("encrypt", "x y")["value"]
    assert encrypted.startswith("{cipher}")
    assert told("decrypt", encrypted) == {"value": "x y"}
    assert told("decrypt", ENCRYPTED) == {"value": "mysecret"}
    assert told("decrypt", "{cipher}00") == "urn:config-server:bad-input"
    assert told("encrypt", 1) == "urn:config-server:bad-input"


def test_without_a_key_there_is_nothing_to_encrypt_with(tmp_path: Path, issuer: LocalIssuer) -> None:
    value = "{cipher}" + ENCRYPTED
    with serving(tmp_path, issuer, {"foo.yml": f"a: '{value}'\n"}) as running:
        for path in ("/encrypt/status", "/key"):
            answer = running.ask(f"/spring{path}")
            assert (answer.status_code, answer.json()["status"]) == (404, "NO_KEY")
        assert posted(running, "/spring/encrypt", b"x").json()["status"] == "NO_KEY"
        assert posted(running, "/spring/decrypt", b"00").json()["error"] == "Not Found"
        answer = running.ask("/v1/admin/encrypt", method="POST", token=running.token(GRANTS), json={"value": "x"})
        assert (answer.status_code, answer.json()["type"]) == (501, "urn:config-server:not-offered")
        # Values are left to a client that has the key.
        assert running.config("foo/dev") == {"a": value}
        assert running.ask("/spring/foo/dev").json()["propertySources"][0]["source"] == {"a": value}


def test_decrypting_is_off_by_default(tmp_path: Path, issuer: LocalIssuer) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    with serving(tmp_path, issuer, {"foo.yml": "a: 1\n"}, encrypt_key_file=key) as running:
        assert posted(running, "/spring/encrypt", b"mysecret").status_code == 200
        assert posted(running, "/spring/decrypt", ENCRYPTED.encode()).status_code == 404
        body = {"value": f"{{cipher}}{ENCRYPTED}"}
        answer = running.ask("/v1/admin/decrypt", method="POST", token=running.token(GRANTS), json=body)
        assert (answer.status_code, "mysecret" in answer.text) == (404, False)


def test_encrypted_values_are_secrets_of_v1_too(tmp_path: Path, issuer: LocalIssuer) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    files = {
        "foo.yml": f"db:\n  password: '{{cipher}}{ENCRYPTED}'\n  url: u:${{db.password}}@h\n",
        "foo-dev.toml": f"token = '{{cipher}}{ENCRYPTED}'\n",
        ".config-server/schemas/foo.json": '{"properties": {"token": {"type": "string", "maxLength": 3}}}',
    }
    decrypted = {"db": {"password": "mysecret", "url": "u:mysecret@h"}, "token": "mysecret"}
    with serving(tmp_path, issuer, files, encrypt_key_file=key, secret_labels=("safe",)) as running:
        assert running.config("foo/dev") == decrypted
        masked = running.body("foo/dev", token=running.token(VIEW_ALL))
        assert masked["config"] == {"db": {"password": "******", "url": "******"}, "token": "******"}
        etag = running.body("foo/dev")["etag"]

        running.push({"foo.yml": "db.password: '{cipher}00'\n"})
        body = running.body("foo/dev")
        assert (body["config"], body["etag"], body["stale"][0]["reason"]) == (decrypted, etag, "invalid")
        assert body["stale"][0]["detail"] == "db.password: the value cannot be decrypted"
        answer = running.ask("/spring/foo/dev").json()["propertySources"][0]["source"]
        assert answer == {"invalid.db.password": "<n/a>"}
        running.push({"foo.yml": files["foo.yml"]})

        running.origin.branch("evil")
        running.origin.branch("safe")
        running.refresh()
        evil = running.body("foo/dev", label="evil")
        assert sorted(evil["unresolved"]) == ["db.password", "db.url", "token"]
        assert evil["config"]["token"] == "{cipher}" + ENCRYPTED
        assert running.config("foo/dev", label="safe") == decrypted

        running.push({"bad.yml": "a: '{cipher}00'\n"})
        answer = running.get("bad/dev", label="safe")
        assert (answer.status_code, answer.json()["keys"]) == (422, ["a"])


def test_another_key_is_another_etag(tmp_path: Path, issuer: LocalIssuer) -> None:
    etags = []
    for number, password in enumerate(("foo", "foo", "bar")):
        key = tmp_path / "key"
        key.write_text(password)
        (tmp_path / str(number) / "data").mkdir(parents=True)
        (tmp_path / str(number) / "server.key").write_text("one key of sixteen bytes or more")
        files = {"foo.yml": f"a: '{{cipher}}{ENCRYPTED}'\n"}
        server_key = tmp_path / str(number) / "server.key"
        with serving(tmp_path / str(number), issuer, files, encrypt_key_file=key, key_file=server_key) as running:
            body = running.ask("/spring/foo-dev.yml")
            etags.append(body.headers["ETag"])
    assert etags[0] == etags[1] != etags[2]


def test_a_key_is_rotated_by_alias(tmp_path: Path, issuer: LocalIssuer) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "default").write_text(KEY)
    (keys / "2027").write_text("another key")
    files = {"foo.yml": f"old: '{{cipher}}{ENCRYPTED}'\n"}
    with serving(tmp_path, issuer, files, encrypt_key_file=keys, decrypt_endpoint=True) as running:

        def told(path: str, body: dict[str, str]) -> httpx.Response:
            return running.ask(f"/v1/admin/{path}", method="POST", token=running.token(GRANTS), json=body)

        made = told("encrypt", {"value": "new secret", "key": "2027"}).json()["value"]
        assert made.startswith("{cipher}{key:2027}")
        spring = posted(running, "/spring/encrypt", b"{key:2027}of spring").text
        running.push({"foo.yml": f"{files['foo.yml']}new: '{made}'\nspring: '{{cipher}}{spring}'\n"})
        assert running.config("foo/dev") == {"old": "mysecret", "new": "new secret", "spring": "of spring"}
        assert told("decrypt", {"value": made}).json() == {"value": "new secret"}
        assert told("encrypt", {"value": "x", "key": "2028"}).status_code == 400
        assert told("encrypt", {"value": "x", "key": "2027", "transit": "pay"}).status_code == 400
        assert told("decrypt", {"value": made.replace("2027", "2028")}).status_code == 400
        assert posted(running, "/spring/encrypt", b"{key:2028}x").status_code == 400

        running.push({"bar.yml": f"a: '{made.replace('2027', 'default')}'\n"})
        assert (running.get("bar/dev").status_code, running.get("bar/dev").json()["keys"]) == (422, ["a"])


def test_a_value_that_is_copied_from_another_services_file_is_refused(tmp_path: Path, issuer: LocalIssuer) -> None:
    """Whoever wrote the copy may read the original, as it stands in the repository; what is in it stays unknown."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("pay", "shop", "shared"):
        (keys / name).write_text(f"the key of {name}")
    settings: dict[str, Any] = {"encrypt_key_file": keys, "encrypt_keys": ("{service}", "shared")}
    with serving(tmp_path, issuer, {"application.yml": "n: 1\n"}, **settings) as running:

        def encrypted(key: str) -> str:
            body = {"value": f"hunter2 of {key}", "key": key}
            answer = running.ask("/v1/admin/encrypt", method="POST", token=running.token(GRANTS), json=body)
            return str(answer.json()["value"])

        of_pay, of_all = encrypted("pay"), encrypted("shared")
        running.push({"pay.yml": f"a: '{of_pay}'\nb: '{of_all}'\n", "shop.yml": f"b: '{of_all}'\n"})
        assert running.config("pay/prod") == {"n": 1, "a": "hunter2 of pay", "b": "hunter2 of shared"}
        assert running.config("shop/prod") == {"n": 1, "b": "hunter2 of shared"}
        bare = of_pay.replace("{key:pay}", "")
        copies = (of_pay, of_pay.replace("{key:pay}", "{key:shop}"), bare, of_pay.replace("{key:", "{key:shop}{key:"))
        for number, copied in enumerate(copies):
            running.push({f"thief{number}.yml": f"a: '{copied}'\n", "shop.yml": f"a: '{copied}'\n"})
            stolen = running.get(f"thief{number}/prod")
            assert (stolen.status_code, stolen.json()["keys"]) == (422, ["a"])
            held = running.get("shop/prod")
            assert (held.json()["config"]["b"], held.json()["stale"][0]["reason"]) == ("hunter2 of shared", "invalid")
            spring = running.ask("/spring/shop/prod")
            assert not any("of pay" in text for text in (stolen.text, held.text, spring.text))


def test_overrides_stand_above_every_file_of_v1(tmp_path: Path, issuer: LocalIssuer) -> None:
    overrides = tmp_path / "over.properties"
    overrides.write_text("log.level=warn\n#---\nspring.config.activate.on-profile=dev\nlog.dev=true\n")
    with serving(tmp_path, issuer, {"foo.yml": "log: {level: info, x: 1}\n"}, overrides_file=overrides) as running:
        config = running.config("foo/dev")
        assert config["log"] == {"level": "warn", "x": 1, "dev": "true"}
        assert running.config("other/prod") == {"log": {"level": "warn"}}
        explained = running.body("foo/prod", explain=True)["explain"]["log.level"]
        assert explained == {"origin": "overrides:1:11", "overridden": ["foo.yml:1:14"]}


def test_overrides_that_do_not_parse_stop_the_start(tmp_path: Path, issuer: LocalIssuer) -> None:
    overrides = tmp_path / "over.yml"
    overrides.write_text("a: [\n")
    with pytest.raises(Exception, match="OVERRIDES_FILE"), serving(tmp_path, issuer, {}, overrides_file=overrides):
        pass
