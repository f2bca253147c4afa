"""`python -m app`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from app.audit import AuditEvent, AuditTrail, Outcome
from app.audit.files import chains_in
from app.cli import main

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONFIG_SERVER_")}
    env |= {f"CONFIG_SERVER_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def invoke(*arguments: str) -> Result:
    """In this process, where the environment does not matter."""
    return CliRunner().invoke(main, arguments)


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


def test_check_looks_into_the_files_about_tokens(tmp_path: Path) -> None:
    (tmp_path / "issuers.toml").write_text("[[issuer]]\nissuer = 'https://a.example'\nmisspelt = 1\n")
    done = run("check", REPO_URL="https://x/y.git", ISSUERS_FILE=str(tmp_path / "issuers.toml"))
    assert done.returncode == 1
    for told in ("ISSUERS_FILE", "issuer 1: audience", "issuer 1: misspelt", "exactly one of jwks_url"):
        assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_the_entry_of_a_further_repository_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "repositories.toml"
    file.write_text('[[repository]]\nname = "pay"\nurl = "ext::sh -c x"\nbrnch = "main"\n')
    settings = {"REPO_URL": "https://x/y.git", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a", "JWT_DISCOVERY": "true"}
    done = run("check", **settings, REPOSITORIES_FILE=str(file))
    assert done.returncode == 1
    for told in ("CONFIG_SERVER_REPOSITORIES_FILE", "repository 1 (pay): url", "repository 1 (pay): brnch"):
        assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_validate_looks_in_a_checkout_for_what_is_read_from_it_and_nothing_else(tmp_path: Path) -> None:
    main, further, file = tmp_path / "main", tmp_path / "further", tmp_path / "repositories.toml"
    for path, text in {
        main / "shop-prod.yml": "a: 1\n",
        main / "pay-prod.yml": "broken: [here\n",  # nobody reads it
        further / "config" / "pay-prod.yml": "a: 1\n",
        further / "config" / "shop-prod.yml": "broken: [too\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    file.write_text('[[repository]]\nname = "pay"\nurl = "/x"\npatterns = ["pay*"]\nsearch_paths = ["config"]\n')
    for checkout, options in ((main, ()), (further, ("--repository", "pay"))):
        done = run("validate", str(checkout), *options, ENVS="prod", REPOSITORIES_FILE=str(file))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 targets, 0 findings\n")
    done = run("validate", str(main), "--repository", "other", ENVS="prod", REPOSITORIES_FILE=str(file))
    assert (done.returncode, "is called other" in done.stderr) == (1, True)


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


def test_verify_finds_what_is_gone_over_closed_files_and_between_hosts(tmp_path: Path) -> None:
    for host in ("a", "b"):
        trail = AuditTrail(tmp_path / host, chain="worker-0", clock=lambda: 1_700_000_000.0, file_bytes=1)
        trail.start()
        for number in range(4):
            trail.record(AuditEvent("config.refresh", Outcome.ALLOWED, subject=f"admin{number}"), durable=True)
        (tmp_path / host / "host").write_text(host)
        if host == "a":
            end = trail.end
        elif end is not None:
            anchor = AuditEvent("audit.anchor", Outcome.ALLOWED, keys=(f"a/worker-0#{end[1].seq}={end[1].hash}",))
            trail.record(anchor, durable=True)
        trail.close()
    here, there = str(tmp_path / "a"), str(tmp_path / "b")
    assert invoke("audit", "verify", here, there).exit_code == 0

    (tmp_path / "a" / "worker-0.jsonl").unlink()
    assert invoke("audit", "verify", here).exit_code == 0  # alone it cannot know
    done = invoke("audit", "verify", here, there)
    assert (done.exit_code, "its end was cut off" in done.output) == (1, True)

    (tmp_path / "b" / "worker-0.to-000000000001.jsonl").unlink()
    dropped = invoke("audit", "verify", there)
    assert (dropped.exit_code, "BROKEN at line 1: 1 lines before it were dropped" in dropped.output) == (1, True)
    assert invoke("audit", "verify", "--archived", there).exit_code == 0


def test_verify_of_a_folder_without_a_trail_proves_nothing_and_says_so(tmp_path: Path) -> None:
    done = run("audit", "verify", str(tmp_path))
    assert (done.returncode, "no audit trail" in done.stderr) == (1, True)
    assert not chains_in(tmp_path / "nowhere")


def test_validate_finds_in_a_folder_what_the_server_would_hold_back(tmp_path: Path) -> None:
    sealed = f"${{transit:fine#vault:v1:{'abcd' * 10}}}"
    files = {
        "application.yml": "log: info\n",
        "pay-prod.yml": "db:\n  pool: 99\n",
        "pay-dev.yml": "db: {password: '${vault:kv/services/other/dev/db#password}'}\n",
        "shop-prod.yml": "a: [\n",
        "fine-prod.yml": "a: ${b}\nb: 1\npassword: ${vault:kv/services/fine/prod/db#password}\n"
        f"own: {sealed}\nkept: '{{cipher}}00'\n",
        "thief-dev.yml": f"password: {sealed}\n",
        "fine-dev.yml": "password: ${vault:nope/services/fine/dev/db#password}\n",
        ".config-server/schemas/pay.json": '{"properties": {"db": {"properties": {"pool": {"maximum": 50}}}}}',
        ".config-server/freeze.toml": "[[window]]\nfrom = 1\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "link-prod.yml").symlink_to("pay-prod.yml")
    done = run("validate", str(tmp_path), "--envs", "prod,dev")
    assert done.returncode == 1
    places = {line.partition(": ")[0]: line for line in done.stdout.splitlines()}
    assert set(places) == {
        ".config-server/freeze.toml",
        "fine-dev.yml:1",
        "link-prod.yml",
        "pay-dev.yml:1",
        "pay-prod.yml:2",
        "shop-prod.yml:2",
        "thief-dev.yml:1",
    }
    assert "db.pool: must be at most 50" in places["pay-prod.yml:2"]
    assert "(pay/prod)" in places["pay-prod.yml:2"]
    assert "is not this target's to use" in places["pay-dev.yml:1"]
    assert "names a mount that there is not" in places["fine-dev.yml:1"]
    strict = run("validate", str(tmp_path), "--envs", "prod,dev", "--encrypt-keys", "{service},shared")
    assert set(strict.stdout.splitlines()) - set(done.stdout.splitlines()) == {
        "fine-prod.yml:5: kept: the secret reference names a key that is not this target's to use (fine/prod)"
    }


def test_validate_is_content_with_a_good_folder_and_not_with_one_that_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "pay-prod.yml").write_text("a: 1\n")
    good = run("validate", str(tmp_path), ENVS="prod")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "1 targets, 0 findings\n")
    assert run("validate", str(tmp_path)).returncode == 1
