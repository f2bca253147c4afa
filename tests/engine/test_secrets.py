"""References on their way out: path policy, label policy, what Vault refuses, and what it does not answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually


def test_secrets_are_filled_in_whole_and_inline(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p w", "port": 5432, "tls": {"on": True}})
    text = "".join(
        f"{name}: {value}\n"
        for name, value in {
            "whole": f"${{vault:kv/services/{service}/prod/db#port}}",
            "map": f"${{vault:kv/services/{service}/prod/db#tls}}",
            "inline": f'"pg://app:${{vault:kv/services/{service}/prod/db#password}}@db"',
        }.items()
    )
    bench.push({f"{service}.yml": text})

    assert bench.config(f"{service}/prod") == {
        "shared": 1,
        "whole": 5432,
        "map": {"on": True},
        "inline": "pg://app:p w@db",
    }
    masked = bench.get(f"{service}/prod", token=bench.token(VIEW_ALL)).json()["config"]
    assert masked == {"shared": 1, "whole": "******", "map": "******", "inline": "******"}


def test_a_secret_that_looks_like_a_reference_is_served_as_it_is(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    literal = "${vault:kv/services/other/prod/db#password} ${shared}"
    bao.put(f"services/{service}/prod/db", {"password": literal})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})

    assert bench.config(f"{service}/prod")["a"] == literal


@pytest.mark.parametrize("path", ["services/other/prod/db", "services/{service}/staging/db", "shared/staging/x", "x"])
def test_a_reference_outside_the_policy_never_reaches_vault(bench: Serving, vault: VaultProxy, path: str) -> None:
    service = bench.new_service()
    forbidden = path.format(service=service)
    bench.push({f"{service}.yml": f"db:\n  password: ${{vault:kv/{forbidden}#password}}\n"})
    before = len(vault.asked)

    answer = bench.get(f"{service}/prod")

    assert (answer.status_code, answer.json()["keys"]) == (422, ["db.password"])
    assert answer.json()["type"] == "urn:config-server:secret-refused"
    assert len(vault.asked) == before


def test_a_new_reference_that_vault_refuses_keeps_the_last_good(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    good = bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    bench.push(
        {
            f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"
            f"b: ${{vault:kv/services/{service}/prod/missing#x}}\n"
        }
    )

    body = bench.body(f"{service}/prod")

    assert (body["version"], body["config"]["a"], "b" in body["config"]) == (good, "one", False)
    assert (body["stale"][0]["reason"], body["stale"][0]["detail"].partition(":")[0]) == ("secret", "b")
    bao.put(f"services/{service}/prod/missing", {"x": "there"})


def test_a_secret_in_use_that_goes_away_is_422_and_not_an_old_configuration(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "a: plain\n"})
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    assert bench.config(f"{service}/prod")["a"] == "one"

    bao.delete(f"services/{service}/prod/db")
    assert bench.server.services.secret_watch.tick() >= 1
    bench.refresh()

    def refused() -> bool:
        answer = bench.get(f"{service}/prod")
        return (answer.status_code, answer.json().get("keys")) == (422, ["a"])

    eventually(refused)


def test_a_new_version_is_announced_and_changes_the_etag(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    before = bench.body(f"{service}/prod")
    seen = bench.get(f"{service}/prod").headers["X-Config-Rev"]
    bao.put(f"services/{service}/prod/db", {"password": "two"})
    assert bench.config(f"{service}/prod")["a"] == "one"  # all workers answer with the announced version

    assert bench.server.services.secret_watch.tick() >= 1

    after = eventually(lambda: [body for body in [bench.body(f"{service}/prod")] if body["config"]["a"] == "two"])[0]
    assert after["etag"] != before["etag"]
    assert after["version"] == before["version"]
    assert bench.get(f"{service}/prod").headers["X-Config-Rev"] != seen


def test_a_pinned_version_stays(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    bao.put(f"services/{service}/prod/db", {"password": "two"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password@1}}\n"})

    assert bench.config(f"{service}/prod")["a"] == "one"


def test_a_hundred_keys_of_one_secret_cost_one_read(bench: Serving, bao: Bao, vault: VaultProxy) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/many", {f"k{number}": number for number in range(100)})
    text = "".join(f"k{number}: ${{vault:kv/services/{service}/prod/many#k{number}}}\n" for number in range(100))
    bench.push({f"{service}.yml": text})

    for _ in range(3):
        assert bench.config(f"{service}/prod")["k99"] == 99

    assert vault.asked_for(f"services/{service}/prod/many") == 1


def test_while_vault_is_away_known_secrets_are_served_and_others_are_503(
    bench: Serving, bao: Bao, vault: VaultProxy
) -> None:
    warm, cold = bench.new_service(), bench.new_service()
    for service in (warm, cold):
        bao.put(f"services/{service}/prod/db", {"password": service})
    line = "a: ${{vault:kv/services/{0}/prod/db#password}}\n"
    bench.push({f"{service}.yml": line.format(service) for service in (warm, cold)})
    assert bench.config(f"{warm}/prod")["a"] == warm
    vault.away.set()
    try:
        answer = bench.get(f"{cold}/prod")
        known = bench.get(f"{warm}/prod")
    finally:
        vault.away.clear()

    assert (known.status_code, known.json()["config"]["a"]) == (200, warm)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:secrets-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: bench.get(f"{cold}/prod").status_code == 200)


def test_references_stay_as_written_on_a_branch_that_is_not_protected(
    bench: Serving, bao: Bao, vault: VaultProxy
) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    reference = f"${{vault:kv/services/{service}/prod/db#password}}"
    bench.push({f"{service}.yml": "n: 1\n"})
    bench.origin.branch(f"evil-{service}")
    bench.push({f"{service}.yml": f"a: x-{reference}\n"})
    tip = bench.origin.head
    bench.origin.tag(f"tag-{service}")
    bench.origin.branch("main")
    bench.refresh()

    for label in (f"evil-{service}", f"tag-{service}", tip):
        body = bench.body(f"{service}/prod", label=label)
        assert (body["config"]["a"], body["unresolved"]) == (f"x-{reference}", ["a"])
    assert vault.asked_for(f"services/{service}/prod/db") == 0


def test_an_ancestor_of_a_protected_branch_and_a_named_label_are_protected(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    commit = bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    bench.origin.tag(f"v-{service}")
    bench.push({f"{service}.yml": "a: plain\n"})

    for label in (commit, f"v-{service}"):
        assert bench.config(f"{service}/prod", label=label)["a"] == "one"


def test_kv_v1_has_no_versions_and_a_change_is_seen_by_its_digest(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"}, mount="kv1")
    bench.push({f"{service}.yml": f"a: ${{vault:old/services/{service}/prod/db#password}}\n"})
    before = bench.body(f"{service}/prod")
    assert before["config"]["a"] == "one"
    bao.put(f"services/{service}/prod/db", {"password": "two"}, mount="kv1")

    assert bench.server.services.secret_watch.tick() >= 1
    bench.server.services.secrets.forget_all()  # as the TTL does after a minute

    after = eventually(lambda: [body for body in [bench.body(f"{service}/prod")] if body["config"]["a"] == "two"])[0]
    assert after["etag"] != before["etag"]


def test_an_alias_that_is_no_mount_is_refused(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": f"a: ${{vault:nope/services/{service}/prod/db#password}}\n"})

    assert bench.get(f"{service}/prod").json()["keys"] == ["a"]


def test_a_secret_deleted_and_made_anew_is_another_though_its_number_is_the_same(bench: Serving, bao: Bao) -> None:
    service, watch = bench.new_service(), bench.server.services.secret_watch
    path = f"services/{service}/prod/db"
    bao.put(path, {"password": "OLD"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/{path}#password}}\n"})
    before = bench.get(f"{service}/prod")
    bao.delete(path)
    watch.tick()
    eventually(lambda: bench.get(f"{service}/prod").status_code == 422)
    bao.root.secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point="secret")
    bao.put(path, {"password": "NEW"})
    assert bench.get(f"{service}/prod").status_code == 422, "nobody has said yet that it is another one"
    watch.tick()

    after = eventually(lambda: [each for each in [bench.get(f"{service}/prod")] if each.status_code == 200])[0]

    assert after.json()["config"]["a"] == "NEW"
    assert after.headers["ETag"] != before.headers["ETag"]
    unchanged = bench.get(f"{service}/prod", headers={"If-None-Match": before.headers["ETag"]})
    assert unchanged.status_code == 200


def test_a_destroyed_version_gives_way_to_a_newer_one_at_once(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    path = f"services/{service}/prod/db"
    bao.put(path, {"password": "one"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/{path}#password}}\n"})
    assert bench.config(f"{service}/prod")["a"] == "one"
    bao.put(path, {"password": "two"})
    bao.destroy(path, 1)
    bench.server.services.secrets.forget_all()  # as the TTL does after a minute

    assert bench.config(f"{service}/prod")["a"] == "two"


@pytest.mark.slow
def test_a_hundred_targets_that_share_a_secret_cost_one_read_per_ttl_and_one_look_per_round(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao
) -> None:
    bao.put("shared/common/counted", {"password": "one"})
    reference = "a: ${vault:kv/shared/common/counted#password}\n"
    files = {f"service{number}.yml": reference for number in range(100)}
    with running_proxy(bao) as proxy, serving(tmp_path, issuer, files, vault=proxy) as running:
        for rounds in (1, 2):
            with ThreadPoolExecutor(8) as pool:
                answers = pool.map(running.config, [f"service{number}/prod" for number in range(100)])
                assert all(answer == {"a": "one"} for answer in answers)
            assert proxy.asked_for("/data/shared/common/counted") == rounds
            running.server.services.secrets.forget_all()  # as the TTL does after a minute
        proxy.asked.clear()
        running.server.services.secret_watch.tick()
        assert proxy.asked == ["/v1/secret/metadata/shared/common/counted"]
