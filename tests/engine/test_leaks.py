"""A secret is in the answer to whom it is for, and nowhere else."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually

SECRET = "hunter2 &/ätsch"
VAULT_PATH = "services/pay/prod/very-hidden"
FORMS = {
    SECRET.encode(),
    base64.b64encode(SECRET.encode()),
    quote(SECRET).encode(),
    json.dumps(SECRET).strip('"').encode(),
    b"hunter2",
}
FILES = {
    "pay.yml": f"db:\n  password: ${{vault:kv/{VAULT_PATH}#password}}\n  url: pg://${{vault:kv/{VAULT_PATH}#password}}@db\n",
    "map.yml": "a: x-${vault:kv/services/map/prod/db#map}\n",
    "missing.yml": "a: ${vault:kv/services/missing/prod/very-hidden#nope}\n",
    "deputy.yml": f"a: ${{vault:kv/{VAULT_PATH}#password}}\n",
    "note.txt": "password: ${db.password}\n",
}


@pytest.fixture
def own_bao() -> Iterator[Bao]:
    with running_bao() as server:
        yield server


def _everything_once(running: Serving, bao: Bao) -> list[str]:
    """Reads of every kind, good and bad, and what the bad ones answered."""
    assert running.config("pay/prod")["db"]["password"] == SECRET
    for query in ("format=env", "format=properties", "key=db", "explain=true", "flat=true"):
        assert running.ask(f"/v1/config/pay/prod?{query}").status_code == 200
    assert SECRET in running.get("pay/prod/note.txt").text
    told = [running.get("pay/prod", token=running.token(VIEW_ALL)).text]
    told.append(running.get("pay/prod/note.txt", token=running.token(VIEW_ALL)).text)
    told += [running.get(f"{service}/prod").text for service in ("map", "missing", "deputy")]
    running.push({"pay.yml": FILES["pay.yml"] + "broken: [\n"})
    told.append(json.dumps(running.body("pay/prod")["stale"]))
    bao.put(VAULT_PATH, {"password": f"{SECRET} again"})
    assert running.server.services.secret_watch.tick() == 1
    eventually(lambda: running.config("pay/prod")["db"]["password"] == f"{SECRET} again")
    bao.stop()
    told.append(running.get("map/prod").text)
    for path in ("/health", "/metrics", "/openapi.json"):
        told.append(running.ask(path, token=running.token("config:view")).text)
    return told


def test_a_secret_is_on_no_disk_and_in_no_log_or_report(
    tmp_path: Path, issuer: LocalIssuer, own_bao: Bao, capfd: pytest.CaptureFixture[str]
) -> None:
    own_bao.put(VAULT_PATH, {"password": SECRET})
    own_bao.put("services/map/prod/db", {"map": {"inner": SECRET}})
    with serving(tmp_path, issuer, FILES, vault=own_bao, secret_ttl_seconds=0.2) as running:
        told = _everything_once(running, own_bao)
        running.server.services.audit.flush_due(time.time() + 120)
        problems = [text for text in told if "urn:config-server:" in text]
    printed = capfd.readouterr()
    kept = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    everything = b"\n".join([*kept, *(text.encode() for text in (*told, printed.out, printed.err))])

    assert len(problems) >= 3
    assert any(b'"secrets.read"' in content for content in kept)  # the trail was there to be searched
    assert [form for form in FORMS if form in everything] == []
    assert [text for text in problems if "very-hidden" in text or str(tmp_path) in text or "Traceback" in text] == []
    assert issuer.token().partition(".")[0] not in printed.out + printed.err  # nor is a token


def test_an_etag_follows_versions_and_never_contents(tmp_path: Path, issuer: LocalIssuer, own_bao: Bao) -> None:
    files = {"pay.yml": FILES["pay.yml"]}
    with serving(tmp_path, issuer, files, vault=own_bao) as running:
        own_bao.put(VAULT_PATH, {"password": "one"})
        first = running.body("pay/prod")["etag"]
        own_bao.put(VAULT_PATH, {"password": "one"})
        assert running.server.services.secret_watch.tick() == 1
        eventually(lambda: running.body("pay/prod")["etag"] != first)
