"""`python -m app`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from app.audit import AuditEvent, AuditTrail, Outcome

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONFIG_SERVER_")}
    env |= {f"CONFIG_SERVER_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_check_lists_everything_that_is_wrong_at_once() -> None:
    done = run("check", WORKERS="many", NONSENSE="1")
    assert done.returncode == 1
    for name in ("REPO_URL is required", "JWT_ISSUER is required", "WORKERS", "NONSENSE is not a setting"):
        assert f"CONFIG_SERVER_{name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_is_silent_about_good_settings() -> None:
    done = run("check", REPO_URL="https://x/y.git", JWT_ISSUER="i", JWT_AUDIENCE="a", JWT_DISCOVERY="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_line_does_not_wait_for_the_imports_of_a_server() -> None:
    """gunicorn's start runs `check`, and must not take twice as long for a command that it does not run."""
    code = "import sys, app.cli; print({'flask', 'redis', 'hvac', 'app.services'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_verify_proves_a_trail_and_finds_an_edited_line(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path, chain="worker-0", clock=lambda: 1_700_000_000.0)
    trail.start()
    for number in range(3):
        trail.record(AuditEvent("config.refresh", Outcome.ALLOWED, subject=f"admin{number}"), durable=True)
    trail.close()
    whole = run("audit", "verify", str(tmp_path))
    assert (whole.returncode, "3 records, intact" in whole.stdout) == (0, True)

    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_text().splitlines()
    edited = json.loads(lines[1]) | {"subject": "nobody"}
    path.write_text("\n".join([lines[0], json.dumps(edited, separators=(",", ":")), lines[2]]) + "\n")

    broken = run("audit", "verify", str(tmp_path))
    assert (broken.returncode, "BROKEN at line 2" in broken.stdout) == (1, True)


def test_verify_finds_the_trail_of_the_server_by_its_settings(tmp_path: Path) -> None:
    settings = {"REPO_URL": "https://x/y.git", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_DISCOVERY": "true"}
    trail = AuditTrail(tmp_path / "audit", chain="worker-0", clock=lambda: 1_700_000_000.0)
    trail.start()
    trail.record(AuditEvent("config.refresh", Outcome.ALLOWED), durable=True)
    trail.close()

    done = run("audit", "verify", DATA_DIR=str(tmp_path), **settings)

    assert (done.returncode, "1 records, intact" in done.stdout) == (0, True)


def test_verify_of_a_folder_without_a_trail_proves_nothing_and_says_so(tmp_path: Path) -> None:
    done = run("audit", "verify", str(tmp_path))
    assert (done.returncode, "no audit trail" in done.stderr) == (1, True)
