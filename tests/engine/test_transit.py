"""Values that Vault's transit engine decrypts on the way out, under a running server and a real OpenBao."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.bao import ROLE, Bao, running_bao
from devstack.issuer import LocalIssuer
from devstack.server import ROOT
from devstack.valkey import Valkey
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import contents, eventually

GRANTS = "config:encrypt config:decrypt"
POLICY = ROOT / "config" / "demo" / "vault" / "transit.hcl"
CANARY = "canary-Kx71-sings-"
GARBAGE = "vault:v1:" + base64.b64encode(b"x" * 40).decode()


@dataclass
class Scene:
    """A server whose OpenBao, behind a proxy, has a transit engine that nobody else uses."""

    running: Serving
    bao: Bao
    proxy: VaultProxy
    valkey: Valkey

    def key(self, name: str) -> str:
        self.bao.root.secrets.transit.create_key(name)
        return name

    def own(self) -> str:
        """A new service, with a key of its name."""
        return self.key(self.running.new_service())

    def encrypted(self, key: str, text: str) -> str:
        """As it stands in a file."""
        plain = base64.b64encode(text.encode()).decode()
        answer = self.bao.root.secrets.transit.encrypt_data(key, plain)
        return f"${{transit:{key}#{answer['data']['ciphertext']}}}"

    def post(self, path: str, body: dict[str, Any], scope: str = GRANTS) -> httpx.Response:
        token = self.running.token(scope)
        return self.running.ask(f"/v1/admin/{path}", method="POST", token=token, json=body)

    def decryptions(self) -> int:
        return self.proxy.asked_for("/transit/decrypt/")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, valkey: Valkey) -> Iterator[Scene]:
    """With the policy of the demo, and secrets that are read again after a moment."""
    directory = tmp_path_factory.mktemp("transit")
    (directory / "server.key").write_text("one key of sixteen bytes or more")
    settings: dict[str, Any] = {"secret_ttl_seconds": 0.2, "decrypt_endpoint": True}
    settings |= {"redis_url": valkey.url, "key_file": directory / "server.key"}
    with running_bao() as bao, running_proxy(bao) as proxy:
        bao.root.sys.enable_secrets_engine("transit")
        bao.root.secrets.transit.create_key("shared")
        bao.root.sys.create_or_update_policy("transit", POLICY.read_text())
        bao.root.auth.approle.create_or_update_approle(ROLE, token_policies=["config-server", "transit"])
        with serving(directory, issuer, {"application.yml": "n: 1\n"}, vault=proxy, **settings) as running:
            yield Scene(running, bao, proxy, valkey)


def test_values_are_decrypted_whole_and_inline_masked_and_explained_as_secrets(scene: Scene) -> None:
    pay = scene.own()
    own, shared = scene.encrypted(pay, "sésame: x"), scene.encrypted("shared", "all")
    scene.running.push(
        {
            f"{pay}.yml": f"db:\n  password: {own}\n  url: u:{own}@h\n",
            f"{pay}-prod.properties": f"s={shared}\nt=${{s}}\n",
        }
    )
    config = scene.running.config(f"{pay}/prod")
    assert config["db"] == {"password": "sésame: x", "url": "u:sésame: x@h"}
    assert (config["s"], config["t"]) == ("all", "all")
    masked = scene.running.config(f"{pay}/prod", token=scene.running.token(VIEW_ALL))
    assert (masked["db"], masked["s"]) == ({"password": "******", "url": "******"}, "******")
    spring = scene.running.ask(f"/spring/{pay}-prod.properties").text
    assert "s: all" in spring or "s=all" in spring


def test_a_document_with_many_values_costs_one_call_for_each_key(scene: Scene) -> None:
    pay = scene.own()
    lines = [f"a{number}: {scene.encrypted(pay, f'value {number}')}\n" for number in range(60)]
    lines += [f"b{number}: {scene.encrypted('shared', 'x')}\n" for number in range(3)]
    scene.running.push({f"{pay}.yml": "".join(lines)})
    before = scene.decryptions()
    config = scene.running.config(f"{pay}/prod")
    assert [config[f"a{number}"] for number in range(60)] == [f"value {number}" for number in range(60)]
    assert scene.decryptions() - before == 2


def test_values_of_older_versions_of_a_rotated_key_go_on_until_the_key_forbids_them(scene: Scene) -> None:
    pay = scene.own()
    old = scene.encrypted(pay, "old")
    scene.bao.root.secrets.transit.rotate_key(pay)
    new = scene.encrypted(pay, "new")
    assert "#vault:v1:" in old
    assert "#vault:v2:" in new
    scene.running.push({f"{pay}.yml": f"a: {old}\nb: {new}\n"})
    body = scene.running.body(f"{pay}/prod")
    assert (body["config"]["a"], body["config"]["b"]) == ("old", "new")
    scene.running.push({f"{pay}.yml": f"a: {scene.encrypted(pay, 'old')}\nb: {new}\n"})
    again = scene.running.body(f"{pay}/prod")
    assert again["config"] == body["config"]
    assert again["etag"] != body["etag"]
    scene.running.push({f"{pay}.yml": f"a: {old}\nb: {new}\n"})
    assert scene.running.body(f"{pay}/prod")["etag"] == body["etag"]

    scene.bao.root.secrets.transit.update_key_configuration(pay, min_decryption_version=2)
    eventually(lambda: scene.running.get(f"{pay}/prod").status_code == 422)
    refused = scene.running.get(f"{pay}/prod")
    assert refused.json()["keys"] == ["a"]
    assert "old" not in refused.text


def test_the_key_of_another_service_is_refused_as_vault_would_and_vault_is_not_asked(scene: Scene) -> None:
    pay, other, gone = scene.own(), scene.own(), scene.running.new_service()
    sealed = scene.encrypted(pay, "of pay")
    scene.running.push({f"{other}.yml": f"a: {sealed}\n", f"{gone}.yml": f"a: {sealed.replace(pay, gone)}\n"})
    before = scene.decryptions()
    by_policy = scene.running.get(f"{other}/prod")
    assert scene.decryptions() == before
    by_vault = scene.running.get(f"{gone}/prod")  # there is no such key
    told = [(each.status_code, each.json()["detail"], each.json()["keys"]) for each in (by_policy, by_vault)]
    assert told == [(422, "a: the secret reference is not allowed or not found", ["a"])] * 2


def test_a_text_that_the_key_has_not_encrypted_keeps_the_last_good(scene: Scene) -> None:
    pay = scene.own()
    good = scene.encrypted(pay, "good")
    scene.running.push({f"{pay}.yml": f"a: {good}\n"})
    assert scene.running.config(f"{pay}/prod")["a"] == "good"
    scene.running.push({f"{pay}.yml": f"a: {good}\nb: ${{transit:{pay}#{GARBAGE}}}\n"})
    body = scene.running.body(f"{pay}/prod")
    assert (body["config"]["a"], body["stale"][0]["reason"]) == ("good", "secret")
    assert body["stale"][0]["detail"].startswith("b: ")


def test_a_malformed_one_is_told_with_its_file_and_line(scene: Scene) -> None:
    pay = scene.own()
    scene.running.push({f"{pay}.yml": f"a: 1\nb: ${{transit:{pay}#vault:v1:nonsense}}\n"})
    answer = scene.running.get(f"{pay}/prod")
    assert answer.status_code == 422
    assert f"{pay}.yml:2" in answer.text
    assert "nonsense" not in answer.text


def test_they_stay_as_written_on_a_branch_that_is_not_protected(scene: Scene) -> None:
    pay = scene.own()
    sealed = scene.encrypted(pay, "x")
    scene.running.origin.branch(f"evil-{pay}")
    scene.running.push({f"{pay}.yml": f"a: {sealed}\n"})
    scene.running.origin.branch("main")
    before = scene.decryptions()
    body = scene.running.body(f"{pay}/prod", label=f"evil-{pay}")
    assert (body["config"]["a"], body["unresolved"], scene.decryptions()) == (sealed, ["a"], before)


def test_while_vault_is_away_known_values_are_served_and_others_are_503(scene: Scene) -> None:
    warm, cold = scene.own(), scene.own()
    scene.running.push({f"{each}.yml": f"a: {scene.encrypted(each, 'x')}\nb: 1\n" for each in (warm, cold)})
    assert scene.running.config(f"{warm}/prod")["a"] == "x"
    scene.proxy.away.set()
    try:
        eventually(lambda: "stale" in scene.running.body(f"{warm}/prod"))
        stale = scene.running.body(f"{warm}/prod")
        assert (stale["stale"][0]["reason"], stale["config"]["a"]) == ("vault", "x")
        answer = scene.running.get(f"{cold}/prod")
        assert (answer.status_code, "b" in answer.json()) == (503, False)
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        scene.proxy.away.clear()
    eventually(lambda: scene.running.get(f"{cold}/prod").status_code == 200)


@pytest.mark.parametrize("text", ["s3cret ö", "", "${vault:kv/a#k} ${n}"])
def test_the_route_makes_what_a_file_may_hold_and_it_comes_back(scene: Scene, text: str) -> None:
    pay = scene.own()
    made = scene.post("encrypt", {"value": text, "transit": pay})
    assert made.status_code == 200, made.text
    reference = made.json()["value"]
    scene.running.push({f"{pay}.yml": f"a: {reference}\n"})
    assert scene.running.config(f"{pay}/prod")["a"] == text
    assert scene.post("decrypt", {"value": reference}).json() == {"value": text}


def test_the_route_refuses_who_may_not_and_what_vault_refuses(scene: Scene) -> None:
    pay = scene.own()
    body = {"value": "x", "transit": pay}
    assert scene.post("encrypt", body, "config:decrypt config:write").status_code == 403
    reference = scene.encrypted(pay, "x")
    assert scene.post("decrypt", {"value": reference}, "config:encrypt config:write").status_code == 403
    for name in ("no-such-key", "../sys", "a/b", ""):
        answer = scene.post("encrypt", body | {"transit": name})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:config-server:bad-input")
    keys = scene.bao.root.secrets.transit.list_keys()["data"]["keys"]
    assert "no-such-key" not in keys
    for value in (f"${{transit:{pay}#{GARBAGE}}}", f"${{transit:{pay}#vault:v1:x}}"):
        assert scene.post("decrypt", {"value": value}).status_code == 400


def test_a_use_of_the_route_is_in_the_trail_and_its_text_is_on_no_disk_in_no_log_and_not_in_valkey(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    pay = scene.own()
    reference = scene.post("encrypt", {"value": CANARY, "transit": pay}).json()["value"]
    scene.post("decrypt", {"value": reference})
    scene.running.push({f"{pay}.yml": f"a: {reference}\n"})
    assert scene.running.config(f"{pay}/prod")["a"] == CANARY
    assert CANARY not in scene.running.get(f"{pay}/prod", token=scene.running.token(VIEW_ALL)).text
    scene.running.push({f"{pay}.yml": f"a: {reference}\nb: [\n"})
    assert scene.running.body(f"{pay}/prod")["stale"]

    settings = scene.running.server.services.settings
    files = b"".join(contents(settings.data_dir).values())
    for action in (b"config.encrypt", b"config.decrypt"):
        assert any(f"transit {pay}".encode() in line for line in files.splitlines() if action in line)
    log = "".join(capfd.readouterr())
    with scene.valkey.client as client:
        client.config_set("rdbcompression", "no")
        scene.valkey.save()
        dump = Path(str(client.config_get("dir")["dir"]), "dump.rdb").read_bytes()
    assert pay in log
    assert reference.encode() in dump  # so what it keeps of the file was looked at
    for form in (CANARY.encode(), base64.b64encode(CANARY.encode())):
        assert all(form not in written for written in (files, log.encode(), dump))
