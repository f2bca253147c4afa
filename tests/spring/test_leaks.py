"""What Spring's clients are given is on no disk, in no log and in no error; what they are refused is on record."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from app.secrets import Cipher
from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually

SECRET = "hunter2 &/ätsch"
HIDDEN = "services/pay/prod/very-hidden"
KEY = "the key of the server, very-hidden too"
FORMS = {
    SECRET.encode(),
    base64.b64encode(SECRET.encode()),
    quote(SECRET).encode(),
    json.dumps(SECRET).strip('"').encode(),
    b"hunter2",
}
FILES = {
    "pay.yml": f"a: ${{vault:kv/{HIDDEN}#password}}\nb: x-${{a}}\nc: '{{cipher}}{Cipher(KEY).encrypt(SECRET)}'\n",
    "map.yml": "a: x-${vault:kv/services/map/prod/db#map}\n",
    "deputy.yml": f"a: ${{vault:kv/{HIDDEN}#password}}\n",
    "loop.yml": "a: ${b}\nb: ${a}\n",
    "note.txt": "${a} ${b} ${c} ${late}\n",
}
READS = (
    "/pay/prod",
    "/pay/prod/main",
    "/pay-prod.yml",
    "/pay-prod.properties",
    "/pay-prod.json",
    "/pay/prod/main/note.txt",
)


def _everything_once(running: Serving, bao: Bao) -> list[str]:
    """Reads of every kind, and the answers that must hold no secret."""
    for path in READS:
        assert running.ask(f"/spring{path}").text.count("hunter2") >= 3, path
    viewer = running.token(VIEW_ALL)
    told = [running.ask(f"/spring{path}", token=viewer).text for path in READS]
    told += [running.ask(f"/spring/{name}/prod").text for name in ("map", "deputy", "denied")]
    told += [running.ask("/spring/loop-prod.yml").text, running.ask("/spring/pay/prod/nowhere").text]
    scope = "config:encrypt config:decrypt"
    for path, body in (("encrypt", SECRET), ("decrypt", Cipher(KEY).encrypt(SECRET)), ("decrypt", "00")):
        headers = {"Content-Type": "text/plain"}
        content = body.encode()
        answer = running.ask(
            f"/spring/{path}", method="POST", token=running.token(scope), content=content, headers=headers
        )
        told += [] if answer.status_code == 200 else [answer.text]
    running.push({"pay.yml": FILES["pay.yml"] + "broken: [\n"})
    told.append(running.ask("/spring/pay/prod").headers["X-Config-Stale"])
    bao.stop()
    told.append(running.ask("/spring/deputy,map/prod").text)
    told += [running.ask(path, token=running.token("config:view")).text for path in ("/health", "/metrics")]
    return told


def test_a_secret_is_on_no_disk_and_in_no_log_or_error(
    tmp_path: Path, issuer: LocalIssuer, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    settings = {
        "encrypt_key_file": key,
        "decrypt_endpoint": True,
        "secret_sources": ("kv/services/{service}/{env}/all",),
        "secret_ttl_seconds": 0.2,
    }
    with running_bao() as bao, serving(tmp_path, issuer, FILES, vault=bao, **settings) as running:
        bao.put(HIDDEN, {"password": SECRET})
        bao.put("services/map/prod/db", {"map": {"inner": SECRET}})
        bao.put("services/pay/prod/all", {"late": SECRET})
        told = _everything_once(running, bao)
        running.server.services.audit.flush_due(time.time() + 120)
    printed = capfd.readouterr()
    kept = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    everything = b"\n".join([*kept, *(text.encode() for text in (*told, printed.out, printed.err))])

    assert any(b'"secrets.read"' in content for content in kept)  # the trail was there to be searched
    assert any(b'"config.decrypt"' in content for content in kept)
    assert [form for form in FORMS if form in everything] == []
    assert [text for text in told if "very-hidden" in text or str(tmp_path) in text or "Traceback" in text] == []
    assert KEY not in everything.decode(errors="replace")


def test_a_denial_is_on_record_with_who_and_what(boot: Serving) -> None:
    answer = boot.ask("/spring/foo,bar/dev", token=boot.token("config:read:foo", sub="mallory"))
    assert answer.status_code == 403
    boot.server.services.audit.flush_due(time.time() + 120)
    (line,) = eventually(lambda: [line for line in boot.trail() if answer.headers["X-Request-ID"] in line])
    record = json.loads(line)
    assert (record["subject"], record["target"], record["outcome"]) == ("mallory", "foo,bar/dev", "denied")
    assert record["action"] == "GET /spring/<name>/<profiles>"
