"""What a server that starts again remembers, and what its clients may rely on."""

from __future__ import annotations

import shutil
from pathlib import Path

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.serving import Serving, serving, serving_origin
from tests.support import eventually

PAY = {"pay.yml": "a: ${vault:kv/services/pay/prod/restart#password}\n"}


def _rotated(running: Serving, bao: Bao, value: str) -> str:
    """Rotate the secret, and return the rev at which it is served."""
    bao.put("services/pay/prod/restart", {"password": value})
    assert running.server.services.secret_watch.tick() == 1
    eventually(lambda: running.config("pay/prod")["a"] == value)
    return running.get("pay/prod").headers["X-Config-Rev"]


def test_a_client_that_saw_the_former_server_is_not_told_to_come_back(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao
) -> None:
    bao.put("services/pay/prod/restart", {"password": "one"})
    with serving(tmp_path, issuer, PAY, vault=bao) as running:
        assert running.config("pay/prod")["a"] == "one"
        seen = _rotated(running, bao, "two")
        origin = running.origin
    with serving_origin(tmp_path, issuer, origin, vault=bao) as again:
        answer = again.get("pay/prod", headers={"X-Config-Rev": seen})

    assert (answer.status_code, answer.json()["config"]["a"]) == (200, "two")


def test_after_a_crash_too(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/pay/prod/restart", {"password": "one"})
    with serving(tmp_path, issuer, PAY, vault=bao) as running:
        running.config("pay/prod")
        running.refresh()
        seen = _rotated(running, bao, "two")
        crashed = tmp_path / "crashed"
        eventually(lambda: _copied(tmp_path / "data", crashed / "data"))  # the disk as a crash leaves it
        origin = running.origin
    with serving_origin(crashed, issuer, origin, vault=bao) as again:
        assert again.get("pay/prod", headers={"X-Config-Rev": seen}).status_code == 200
        assert again.server.services.secret_watch.tick() == 1
        eventually(lambda: again.config("pay/prod")["a"] == "two")


def _copied(source: Path, target: Path) -> bool:
    """False when the server has written a file in between."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        shutil.copytree(source, target, symlinks=True)
    except shutil.Error:
        return False
    return True


def test_the_default_label_stays_when_the_remote_names_another(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        running.origin.branch("next")
        running.origin.write({"pay.yml": "n: 2\n"})
        origin = running.origin
        (origin.bare / "HEAD").write_text("ref: refs/heads/next\n")
        running.refresh()
        assert running.body("pay/prod")["label"] == "main"
    with serving_origin(tmp_path, issuer, origin) as again:
        again.refresh()
        assert again.body("pay/prod")["label"] == "main"
        assert again.config("pay/prod", label="next") == {"n": 2}


def test_without_git_the_last_commit_is_there_after_a_restart(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        origin = running.origin
    origin.bare.rename(tmp_path / "away.git")
    with serving_origin(tmp_path, issuer, OriginRepo.opened(tmp_path / "origin")) as again:
        eventually(lambda: "X-Config-Stale" in again.get("pay/prod").headers)
        assert again.config("pay/prod") == {"n": 1}
        assert again.ask("/health/ready").status_code == 200


def test_an_etag_is_the_same_after_a_restart_and_another_on_another_server(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path / "one", issuer, {"pay.yml": "n: 1\n"}) as running:
        first, origin = running.body("pay/prod")["etag"], running.origin
    with serving_origin(tmp_path / "one", issuer, origin) as again:
        assert again.body("pay/prod")["etag"] == first
    with serving_origin(tmp_path / "two", issuer, origin) as other:  # a key of its own: nobody can guess from an etag
        assert other.body("pay/prod")["etag"] != first
