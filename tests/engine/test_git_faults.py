"""Git away, rewritten, or not there yet."""

from __future__ import annotations

from pathlib import Path

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.serving import Serving, new_server, serving
from tests.support import eventually


def test_without_a_clone_reads_are_503_and_never_404(tmp_path: Path, issuer: LocalIssuer) -> None:
    import httpx

    missing = tmp_path / "origin" / "origin.git"
    with new_server(tmp_path, issuer, str(missing), poll_seconds=0.1) as server:
        server.start()
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            bearer = {"Authorization": f"Bearer {issuer.token(scope='config:read:*/*')}"}
            answer = client.get("/v1/config/pay/prod", headers=bearer)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:repository-unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            assert client.get("/health/live").status_code == 200
            assert client.get("/health/ready").status_code == 503

            OriginRepo(tmp_path / "origin").write({"pay.yml": "n: 1\n"})

            eventually(lambda: client.get("/health/ready").status_code == 200)
            assert client.get("/v1/config/pay/prod", headers=bearer).json()["config"] == {"n": 1}


def test_an_empty_repository_is_not_ready_and_not_404(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, None, poll_seconds=0.1, patience=0) as running:
        assert running.get("pay/prod").status_code == 503
        assert running.ask("/health/ready").status_code == 503
        running.origin.write({"pay.yml": "n: 1\n"})
        eventually(lambda: running.get("pay/prod").status_code == 200)


def test_while_git_is_away_the_last_commit_is_served_and_marked(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        hidden = running.origin.bare.with_name("hidden.git")
        running.origin.bare.rename(hidden)
        refreshed = running.refresh()
        assert (refreshed.status_code, refreshed.json()["type"]) == (503, "urn:config-server:repository-unavailable")
        eventually(lambda: "stale" in running.body("pay/prod"))  # a refresh that fails is answered at once
        answer = running.get("pay/prod")
        assert (answer.status_code, answer.json()["stale"][0]["reason"]) == (200, "git")
        assert answer.headers["X-Config-Stale"].startswith('git;since="')
        assert running.ask("/health").json()["parts"]["git"]["status"] == "degraded"

        hidden.rename(running.origin.bare)
        refreshed = running.refresh()
        assert (refreshed.status_code, refreshed.json()["stale"]) == (200, [])
        assert "stale" not in running.body("pay/prod")


def test_a_forced_push_is_followed_and_what_was_served_stays_readable(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        base = running.origin.head
        gone = running.push({"pay.yml": "n: 2\n"})
        running.origin.force(base)
        new = running.origin.write({"pay.yml": "n: 3\n"})
        running.refresh()

        eventually(lambda: running.body("pay/prod")["version"] == new)

        assert running.config("pay/prod", label=gone) == {"n": 2}
        eventually(lambda: _read(running))


def _read(running: Serving) -> bool:
    return any("label.rewritten" in path.read_text() for path in running.server.settings.audit_path.glob("*.jsonl"))


def test_a_deleted_branch_is_404_and_a_deleted_default_branch_keeps_its_commit(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        running.origin.branch("other")
        running.push({"pay.yml": "n: 2\n"})
        assert running.config("pay/prod", label="other") == {"n": 2}
        running.origin.branch("main")
        running.origin.delete_branch("other")
        running.refresh()
        eventually(lambda: running.get("pay/prod", label="other").status_code == 404)

        running.origin.branch("keep")
        running.push({"x.yml": "n: 1\n"})
        running.origin.delete_branch("main")
        running.refresh()
        assert running.config("pay/prod") == {"n": 1}
