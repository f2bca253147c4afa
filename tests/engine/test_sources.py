"""Documents of Vault among the files: who has them, what becomes of them, and what is told of a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually

SOURCES = ("kv/services/{service}/{env}/all", "files", "kv/shared/common/all")


def _watch(running: Serving) -> Callable[[], int]:
    watch = running.server.services.secret_watch
    watch.activate()
    return watch.tick


def _merged(running: Serving, path: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in reversed(running.ask(f"/spring{path}", **options).json()["propertySources"]):
        found |= source["source"]
    return found


def test_documents_stand_above_and_below_the_files(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    above = {"db.password": "s3cret-1", "nested": {"x": 1, "list": ["a", {"b": None}], "none": {}}, "log": "of vault"}
    bao.put("services/one/prod/all", above)
    bao.put("shared/common/all", {"log": "of all", "shared": "s3cret-2"})
    files = {
        "one.yml": "log: of a file\ndb: {user: app}\nurl: ${db.user}:${db.password}@${shared}\nnested: {y: 2}\n",
        "two.yml": "log: of a file\n",
    }
    with serving(tmp_path, issuer, files, vault=bao, secret_sources=SOURCES) as running:
        body = running.body("one/prod", explain=True)
        assert body["config"] == {
            "log": "of vault",
            "shared": "s3cret-2",
            "db": {"user": "app", "password": "s3cret-1"},
            "url": "app:s3cret-1@s3cret-2",
            "nested": {"y": 2, "x": 1, "list": ["a", {"b": None}], "none": {}},
        }
        assert body["explain"]["log"] == {
            "origin": "vault:one,prod,all:1:1",
            "overridden": ["one.yml:1:6", "vault:all:1:1"],
        }
        assert running.config("two/prod") == {"log": "of a file", "shared": "s3cret-2"}

        masked = running.config("one/prod", token=running.token(VIEW_ALL))
        assert masked["db"] == {"user": "app", "password": "******"}
        assert (masked["log"], masked["url"], masked["nested"]["x"]) == ("******", "******", "******")
        assert "s3cret" not in json.dumps(masked)

        names = [each["name"] for each in running.ask("/spring/one/prod").json()["propertySources"]]
        assert names == ["vault:one,prod,all", "origin.git/one.yml", "vault:all"]
        source = running.ask("/spring/one/prod").json()["propertySources"][0]["source"]
        assert source == {
            "db.password": "s3cret-1",
            "nested.x": 1,
            "nested.list[0]": "a",
            "nested.list[1].b": "",
            "log": "of vault",
        }
        assert running.ask("/spring/one-prod.json").json()["url"] == "app:s3cret-1@s3cret-2"


def test_a_branch_has_none_of_them(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/branched/prod/all", {"a": "s3cret"})
    with serving(tmp_path, issuer, {"branched.yml": "b: 1\n"}, vault=bao, secret_sources=SOURCES[:2]) as running:
        running.origin.branch("evil")
        running.push({"branched.yml": "b: ${a}\n"})
        assert running.config("branched/prod", label="evil") == {"b": "${a}"}
        assert _merged(running, "/branched/prod/evil") == {"b": "${a}"}
        assert running.config("branched/prod", label="main") == {"b": 1, "a": "s3cret"}


def test_a_document_that_comes_changes_and_goes_is_a_revision(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    files = {"life.yml": "a: 1\n", "life-prod.yml": "c: ${b:none}\n"}
    with serving(tmp_path, issuer, files, vault=bao, secret_sources=SOURCES[:2]) as running:
        tick = _watch(running)
        first = running.body("life/prod")
        assert first["config"] == {"a": 1, "c": "none"}
        assert _merged(running, "/life/prod") == {"a": 1, "c": "${b:none}"}
        assert tick() == 0

        def moved(values: dict[str, Any]) -> None:
            before = running.body("life/prod")["etag"]
            assert tick() == 1
            eventually(lambda: running.body("life/prod")["etag"] != before)
            assert running.config("life/prod") == values
            assert tick() == 0

        bao.put("services/life/prod/all", {"b": "came"})
        moved({"a": 1, "c": "came", "b": "came"})
        assert _merged(running, "/life/prod")["b"] == "came"
        bao.put("services/life/prod/all", {"b": "changed"})
        moved({"a": 1, "c": "changed", "b": "changed"})
        bao.put("services/life/prod/all", {"a": 2})
        moved({"a": 2, "c": "none"})
        bao.delete("services/life/prod/all")
        moved({"a": 1, "c": "none"})
        bao.put("services/life/prod/all", {"b": "again"})
        moved({"a": 1, "c": "again", "b": "again"})


def test_a_follower_is_told_of_a_document_that_comes(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    with serving(tmp_path, issuer, {"told-prod.yml": "a: 1\n"}, vault=bao, secret_sources=SOURCES[:2]) as running:
        tick = _watch(running)
        stream = running.server.url + "/v1/events?topic=told/prod"
        headers = {"Authorization": f"Bearer {running.token()}"}
        with httpx.stream("GET", stream, headers=headers, trust_env=False, timeout=60) as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if line.startswith("data:") and '"change"' in line)
            assert json.loads(first[5:])["doc"] == {"a": 1}
            next(line for line in lines if line.startswith("data:") and '"sync"' in line)
            bao.put("services/told/prod/all", {"b": "s3cret"})
            assert tick() == 1
            second = next(line for line in lines if line.startswith("data:") and '"change"' in line)
            assert json.loads(second[5:])["doc"] == {"a": 1, "b": "s3cret"}


def test_what_nobody_configures_is_not_watched(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    with serving(tmp_path, issuer, {"known-prod.yml": "a: 1\n"}, vault=bao, secret_sources=SOURCES[:2]) as running:
        for service, env in (("known", "prod"), *((f"x{number}", "prod") for number in range(20)), ("known", "other")):
            running.config(f"{service}/{env}")
        watched = {str(path) for path in running.server.services.cursor.in_use()}
        assert watched == {"kv/services/known/prod/all"}


def test_what_vault_refuses_is_an_error_and_no_hole(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    sources = ("kv/denied/{service}",)
    with serving(tmp_path, issuer, {"refused.yml": "a: 1\n"}, vault=bao, secret_sources=sources) as running:
        answer = running.get("refused/prod")
        assert (answer.status_code, answer.json()["keys"]) == (422, ["vault:refused"])
        assert "denied" not in answer.text
        assert running.ask("/spring/refused/prod").status_code == 422


def test_a_plan_knows_what_vault_adds(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/planned/prod/all", {"needed": "s3cret"})
    schema = '{"required": ["needed"]}'
    files = {"planned-prod.yml": "a: 1\n", ".config-server/schemas/planned.json": schema}
    with serving(tmp_path, issuer, files, vault=bao, secret_sources=SOURCES[:2], envs=("prod",)) as running:
        assert running.config("planned/prod") == {"a": 1, "needed": "s3cret"}
        token = running.token(f"{VIEW_ALL} config:write")
        edits = {"edits": [{"file": "planned-prod.yml", "set": {"a": 2}}]}
        plan = running.ask("/v1/admin/plan", method="POST", token=token, json=edits).json()
        assert [(each["service"], each["verdict"]) for each in plan["targets"]] == [("planned", "ok")]


def test_a_mount_without_versions_is_followed_too(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/unversioned", {"a": "one"}, mount="kv1")
    files = {"unversioned-prod.yml": "z: 1\n"}
    sources = ("old/services/{service}",)
    with serving(tmp_path, issuer, files, vault=bao, secret_sources=sources, secret_ttl_seconds=0.01) as running:
        tick = _watch(running)
        assert running.config("unversioned/prod") == {"z": 1, "a": "one"}
        bao.put("services/unversioned", {"a": "two", "b": "new"}, mount="kv1")
        tick()
        eventually(lambda: running.config("unversioned/prod") == {"z": 1, "a": "two", "b": "new"})
        assert tick() == 0


def test_while_vault_is_away_the_last_documents_are_served(tmp_path: Path, issuer: LocalIssuer) -> None:
    with running_bao() as own:
        own.put("services/away/prod/all", {"a": "s3cret"})
        files = {"away-prod.yml": "z: 1\n", "cold-prod.yml": "z: 1\n"}
        settings = {"secret_sources": SOURCES, "secret_ttl_seconds": 0.01}
        with serving(tmp_path, issuer, files, vault=own, **settings) as running:
            assert running.config("away/prod") == {"z": 1, "a": "s3cret"}
            own.stop()
            body = eventually(lambda: [each for each in [running.body("away/prod")] if "stale" in each])[0]
            assert (body["config"], body["stale"][0]["reason"]) == ({"z": 1, "a": "s3cret"}, "vault")
            answer = running.get("cold/prod")
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:secrets-unavailable")
            assert running.ask("/spring/cold/prod").status_code == 503
