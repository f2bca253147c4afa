"""configctl against a running server: what it prints, what it asks, and what it exits with."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from config_client.cli import show
from config_client.cli.commands import configctl
from devstack.processes import free_port
from tests.client.both import OnThreads
from tests.client.support import ENVIRONMENT, Office, await_transport
from tests.fault_proxy import FaultProxy
from tests.support import eventually

ADMIN = "config:read:*/* config:write"


@dataclass
class Desk:
    """Somebody at a keyboard, with a token in the environment. `service` is theirs."""

    office: Office
    service: str
    home: Path
    scope: str = ADMIN

    @property
    def target(self) -> str:
        return f"{self.service}/production"

    @property
    def env(self) -> dict[str, str]:
        token = self.office.issuer.token(sub="ada@example.org", scope=self.scope)
        given = {"CONFIG_CLIENT_URL": self.office.server.url, "CONFIG_CLIENT_TOKEN": token}
        return {**given, "XDG_CONFIG_HOME": str(self.home), "CONFIG_CLIENT_TOKEN_FILE": ""}

    def run(self, *words: str, keys: str | None = None, **env: str) -> Result:
        return CliRunner().invoke(configctl, list(words), input=keys, env={**self.env, **env})

    def out(self, *words: str, **env: str) -> str:
        done = self.run(*words, **env)
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def desk(office: Office, tmp_path: Path) -> Desk:
    service = office.new_service("# the pool\ndb: {pool: 5, host: a.internal}\n")
    return Desk(office, service, tmp_path)


def test_get_prints_leaves_documents_variables_and_one_part(desk: Desk) -> None:
    assert desk.out("get", desk.target) == "log\tinfo\ndb.pool\t5\ndb.host\ta.internal\n"
    whole = {"log": "info", "db": {"pool": 5, "host": "a.internal"}}
    assert json.loads(desk.out("get", desk.target, "-o", "json")) == whole
    assert yaml.safe_load(desk.out("get", desk.target, "-o", "yaml")) == whole
    assert desk.out("get", desk.target, "-o", "env") == "LOG=info\nDB_POOL=5\nDB_HOST=a.internal\n"
    assert desk.out("get", desk.target, "db.pool", "-o", "json") == "5\n"


def test_get_explains_where_values_come_from_and_how_they_were(desk: Desk) -> None:
    assert f"db.pool\t5\t{desk.service}-production.yml:2" in desk.out("get", desk.target, "--explain")
    before = desk.office.head
    desk.office.change(desk.service, "db: {pool: 9}\n")
    assert desk.out("get", desk.target, "db.pool", "--label", before) == "db.pool\t5\n"
    assert desk.out("get", desk.target, "db.pool", "--at", "2100-01-01T00:00:00Z") == "db.pool\t9\n"


def test_diff_exits_with_what_it_finds(desk: Desk) -> None:
    before = desk.office.head
    same = desk.run("diff", desk.target, before)
    assert (same.exit_code, same.stdout) == (0, "")
    desk.office.change(desk.service, "db: {pool: 9, host: a.internal}\n")
    other = desk.run("diff", desk.target, before)
    assert (other.exit_code, other.stdout) == (1, "replace\tdb.pool\t5\t9\n")
    wrong = desk.run("diff", desk.target, "no-such-label", "-o", "json")
    assert wrong.exit_code == 3
    assert json.loads(wrong.stderr)["type"] == "urn:config-server:unknown-label"
    assert wrong.stdout == ""


def test_history_and_blame_tell_who_changed_what(desk: Desk) -> None:
    commit = desk.office.change(desk.service, "db: {pool: 9, host: a.internal}\n")
    first, second = desk.out("history", desk.target, "--limit", "2").splitlines()
    assert first.split("\t")[1:] == [commit[:12], "Ada <ada@example.org>", f"{desk.service}: a change", "db.pool"]
    assert "db.host" in second
    blamed = {line["key"]: line for line in json.loads(desk.out("blame", desk.target, "db", "-o", "json"))}
    assert blamed["db.pool"]["commit"] == commit[:12]
    assert blamed["db.host"]["commit"] != commit[:12]
    assert blamed["db.host"]["origin"].startswith(f"{desk.service}-production.yml:1")


def test_plan_shows_and_changes_nothing(desk: Desk) -> None:
    head = desk.office.head
    done = desk.run("plan", desk.target, "db.pool=9")
    assert done.exit_code == 0, done.output
    assert "~ db.pool: 5 -> 9" in done.stderr
    assert done.stdout == ""
    assert desk.office.head == head
    assert json.loads(desk.out("plan", desk.target, "db.pool=9", "-o", "json"))["files"][0]["op"] == "change"
    breaking = desk.run("plan", desk.target, "db.pool=${vault:nope/x#y}")
    assert (breaking.exit_code, "It would break" in breaking.stderr) == (1, True), breaking.output


def test_set_shows_its_plan_and_makes_a_commit_that_keeps_the_files_comments(desk: Desk) -> None:
    done = desk.run("set", desk.target, "db.pool=9", 'db.name="9"', "--unset", "db.host", "-m", "More", "--yes")
    assert done.exit_code == 0, done.output
    assert "~ db.pool: 5 -> 9" in done.stderr
    assert json.loads(desk.out("get", desk.target, "db", "-o", "json")) == {"pool": 9, "name": "9"}
    assert len(done.stdout.strip()) == 40
    (first, *_) = json.loads(desk.out("history", desk.target, "-o", "json"))
    assert (first["commit"], first["message"].strip()) == (done.stdout.strip(), "More")
    assert first["author"].startswith("ada")


def test_set_writes_into_the_file_that_has_the_key(desk: Desk) -> None:
    desk.office.push({f"{desk.service}-production.properties": "cache.size=3\n"}, "a cache")
    assert desk.run("set", desk.target, "cache.size=4", "--yes").exit_code == 0
    assert "cache.size\t4\t" in desk.out("get", desk.target, "--explain")
    assert f"{desk.service}-production.properties:1" in desk.out("get", desk.target, "cache.size", "--explain")


def test_where_nobody_can_be_asked_nothing_is_changed_without_yes(desk: Desk) -> None:
    head = desk.office.head
    done = desk.run("set", desk.target, "db.pool=9")
    assert (done.exit_code, "say --yes" in done.stderr) == (2, True)
    assert desk.office.head == head


def test_a_change_that_is_refused_tells_why_and_exits_with_three(desk: Desk) -> None:
    viewer = Desk(desk.office, desk.service, desk.home, "config:view")
    done = viewer.run("set", desk.target, "db.pool=9", "--yes", "-o", "json")
    assert done.exit_code == 3
    assert json.loads(done.stderr.splitlines()[-1])["status"] == 403


def test_edit_opens_the_file_as_it_lies_in_git(desk: Desk, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/pool: 5/pool: 6/" "$1"\n')
    editor.chmod(0o755)
    done = desk.run("edit", desk.target, "--yes", EDITOR=str(editor), VISUAL="")
    assert done.exit_code == 0, done.output
    assert desk.out("get", desk.target, "db.pool", "-o", "json") == "6\n"
    editor.write_text('#!/bin/sh\necho "db: [" > "$1"\n')
    broken = desk.run("edit", desk.target, "--yes", EDITOR=str(editor), VISUAL="")
    assert broken.exit_code == 3
    kept = Path(broken.stderr.split(" is kept in ")[1].split(".yml")[0] + ".yml")
    assert kept.read_text() == "db: [\n"
    kept.unlink()
    editor.write_text("#!/bin/sh\n")
    assert desk.run("edit", desk.target, EDITOR=str(editor), VISUAL="").stderr == "Nothing has changed.\n"


def test_rollback_and_promote_show_a_plan_and_do_what_it_says(desk: Desk) -> None:
    before = desk.office.head
    desk.office.change(desk.service, "db: {pool: 9, host: a.internal}\n")
    done = desk.run("rollback", desk.service, "--to", before, "--yes")
    assert done.exit_code == 0, done.output
    assert "~ db.pool: 9 -> 5" in done.stderr
    assert desk.out("get", desk.target, "db.pool", "-o", "json") == "5\n"
    done = desk.run("promote", desk.service, "--from", "production", "--to", "staging", "--yes")
    assert done.exit_code == 0, done.output
    assert desk.out("get", f"{desk.service}/staging", "db.pool", "-o", "json") == "5\n"
    assert desk.run("promote", desk.service, "--from", "production", "--to", "staging", "--yes").exit_code == 0


def test_watch_prints_changes_runs_a_command_and_ends_after_so_many(desk: Desk, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    found: list[Result] = []
    words = ("watch", desk.target, "--count", "1", "--exec", f'echo "$CONFIG_KEYS" > {ran}', "-o", "json")
    watching = threading.Thread(target=lambda: found.append(desk.run(*words)))
    watching.start()
    eventually(lambda: desk.office.instances(desk.service))
    desk.office.change(desk.service, "db: {pool: 9, host: a.internal}\n")
    watching.join(60)
    assert found[0].exit_code == 0, found[0].output
    assert json.loads(found[0].stdout)["changes"] == [{"key": "db.pool", "old": 5, "new": 9}]
    assert ran.read_text() == "db.pool\n"


def test_instances_tells_who_is_connected(desk: Desk) -> None:
    token = desk.office.issuer.token(scope="config:read", service=desk.service)
    client = OnThreads(
        config_server_url=desk.office.server.url,
        service_name=desk.service,
        env="production",
        auth_token=token,
        instance="till-7",
    )
    client.fetch()
    client.listen()
    await_transport(client, "websocket")
    eventually(lambda: "till-7" in desk.out("instances", desk.service))
    client.close()


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        (ADMIN, {"read", "view", "write"}),
        ("config:view", {"view", "read"}),
        ("config:read:someone-else", set()),
    ],
    ids=["admin", "viewer", "stranger"],
)
def test_can_i_answers_with_its_exit_code_and_changes_nothing(desk: Desk, scope: str, may: set[str]) -> None:
    """The target has no secret, so that reading and viewing are the same."""
    head = desk.office.head
    who = Desk(desk.office, desk.service, desk.home, scope)
    answers = {action: who.run("can-i", action, desk.target).exit_code for action in ("read", "view", "write")}
    assert {action for action, code in answers.items() if code == 0} == may
    assert {action for action, code in answers.items() if code == 1} == {"read", "view", "write"} - may
    assert desk.office.head == head


def test_encrypt_makes_of_a_value_what_a_file_may_hold(desk: Desk) -> None:
    keeper = Desk(desk.office, desk.service, desk.home, "config:encrypt")
    sealed = keeper.run("encrypt", keys="s3cret word\n")
    assert (sealed.exit_code, sealed.stdout[:8]) == (0, "{cipher}"), sealed.output
    done = desk.run("set", desk.target, f"db.password={sealed.stdout.strip()}", "--yes")
    assert done.exit_code == 0, done.output
    assert "s3cret" not in done.output
    assert desk.out("get", desk.target, "db.password") == "db.password\ts3cret word\n"
    assert keeper.run("encrypt", keys="").exit_code == 2
    assert desk.run("encrypt", keys="s3cret word\n").exit_code == 3, "it takes config:encrypt"
    opener = Desk(desk.office, desk.service, desk.home, "config:decrypt")
    assert opener.run("decrypt", keys=sealed.stdout).stdout == "s3cret word\n"
    assert keeper.run("decrypt", keys=sealed.stdout).exit_code == 3, "it takes config:decrypt"
    assert opener.run("decrypt", keys="{cipher}nonsense").exit_code == 3


def test_a_plan_can_be_shown_on_a_pull_request(desk: Desk) -> None:
    done = desk.run("plan", desk.target, "db.pool=9", "db.host=a | b `c` <b>", "-o", "markdown")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("### Configuration plan on <code>main</code> at <code>")
    assert f"#### <code>{desk.target}</code>: ok, 0 connected" in lines
    assert "| ~ | <code>db.pool</code> | <code>5</code> | <code>9</code> |" in lines
    host = "<code>a &#124; b &#96;c&#96; &lt;b&gt;</code>"
    assert f"| ~ | <code>db.host</code> | <code>a.internal</code> | {host} |" in lines
    breaking = desk.run("plan", desk.target, "db.pool=${vault:nope/x#y}", "-o", "markdown")
    assert breaking.exit_code == 1
    assert "**It would break " in breaking.stdout


def test_audit_prints_the_trail_by_filters(desk: Desk) -> None:
    assert desk.run("set", desk.target, "db.pool=8", "-m", "Eight", "--yes").exit_code == 0
    auditor = Desk(desk.office, desk.service, desk.home, "config:audit")
    told = auditor.out("audit", "--action", "config.change", "--limit", "5", "-o", "json").splitlines()
    newest = json.loads(told[0])
    assert (newest["action"], newest["subject"], newest["detail"]) == ("config.change", "ada@example.org", "Eight")
    assert "Eight" in auditor.out("audit", "--action", "config.change", "--limit", "1")
    assert auditor.out("audit", "--subject", "nobody") == ""
    assert desk.run("audit").exit_code == 3, "it takes config:audit"


def test_login_stores_where_a_token_comes_from_and_never_the_token(desk: Desk, tmp_path: Path) -> None:
    token = desk.env["CONFIG_CLIENT_TOKEN"]
    secret = tmp_path / "token"
    secret.write_text(token)
    without = {"CONFIG_CLIENT_TOKEN": "", "CONFIG_CLIENT_URL": ""}
    done = desk.run("--server", desk.office.server.url, "login", "--token-command", f"cat {secret}", **without)
    assert done.exit_code == 0, done.output
    stored = desk.home / "configctl" / "profiles.toml"
    assert token not in stored.read_text()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert desk.out("get", desk.target, "db.pool", **without) == "db.pool\t5\n"
    other = ("--profile", "other", "--server", desk.office.server.url, "--token-file", str(secret), "login")
    assert desk.run(*other, **without).exit_code == 0
    assert desk.out("--profile", "other", "get", desk.target, "db.pool", **without) == "db.pool\t5\n"
    refused = desk.run(
        "--profile", "bad", "--server", desk.office.server.url, "login", "--token-command", "echo x.y.z", **without
    )
    assert refused.exit_code == 3
    assert "bad" not in stored.read_text(), "what does not work is not stored"
    secret.write_text("x.y.z")
    assert desk.run("get", desk.target, **without).exit_code == 3
    missing = desk.run("--profile", "nobody", "get", desk.target, **without)
    assert (missing.exit_code, "configctl login" in missing.stderr) == (2, True)


def test_doctor_tells_which_part_fails(desk: Desk) -> None:
    well = json.loads(desk.out("doctor", desk.target, "-o", "json"))
    assert [each["check"] for each in well if not each["ok"]] == []
    assert {"websocket", "event stream", "target", "clock"} <= {each["check"] for each in well}
    away = desk.run("doctor", "-o", "json", CONFIG_CLIENT_URL=f"http://127.0.0.1:{free_port()}")
    assert away.exit_code == 1
    assert json.loads(away.stdout)[-1]["check"] == "connection"
    old = desk.office.issuer.token(lifetime=-100)
    stale = desk.run("doctor", "-o", "json", CONFIG_CLIENT_TOKEN=old)
    failing = {each["check"]: each["detail"] for each in json.loads(stale.stdout) if not each["ok"]}
    assert "expired" in failing["token"]
    assert "unauthenticated" in failing["accepted"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(desk: Desk, shell: str) -> None:
    assert "_CONFIGCTL_COMPLETE" in desk.out("completion", shell)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["get", "no-slash"], "SERVICE/ENV"),
        (["set", "a/b"], "set what?"),
        (["set", "a/b", "novalue"], "KEY=VALUE"),
        (["plan"], "plan what?"),
        (["login"], "where does the token come from?"),
    ],
)
def test_wrong_use_is_two_and_says_what_is_right(desk: Desk, words: list[str], says: str) -> None:
    done = desk.run(*words)
    assert (done.exit_code, says in done.stderr) == (2, True), done.output


def test_a_server_that_is_away_is_three(desk: Desk) -> None:
    done = desk.run("get", desk.target, "-o", "json", CONFIG_CLIENT_URL=f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 3
    assert "no answer" in json.loads(done.stderr)["detail"]


def test_the_program_runs_in_a_process_of_its_own(desk: Desk) -> None:
    command = [sys.executable, "-c", "from config_client.cli import main; main()", "get", desk.target, "db.pool"]
    done = subprocess.run(command, env={**ENVIRONMENT, **desk.env}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("db.pool\t5\n", "", 0)


@pytest.mark.slow
def test_a_terminal_gets_a_heading_and_is_told_of_what_takes_long(desk: Desk) -> None:
    command = [sys.executable, "-c", "from config_client.cli import main; main()", "get", desk.target, "db.pool"]
    with FaultProxy(desk.office.server.port) as proxy:
        proxy.down.stall()
        env = {**ENVIRONMENT, **desk.env, "CONFIG_CLIENT_URL": proxy.url, "TERM": "xterm"}
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
            if b"waiting: GET" in shown:
                proxy.down.release()
        os.close(ours)
        assert process.wait(60) == 0, shown
    assert b"waiting: GET" in shown
    assert b"\x1b[1mKEY" in shown


def _read(descriptor: int) -> bytes:
    """Of a terminal; its other end closes with an error."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [1, "x", {"c": None, "d": [True, []]}], "e": {}}, "on": "off", "1": "1", "x y": "a: b #c"},
        [[1, 2], [{"a": 1, "b": {"c": 2}}]],
        "text",
        {},
        None,
    ],
    ids=["nested", "lists", "text", "empty", "null"],
)
def test_yaml_is_read_back_as_it_was(value: Any) -> None:
    assert yaml.safe_load(show.yaml(value)) == value
