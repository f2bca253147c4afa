"""Two public clients of Spring Cloud Config against the live server: they move by changing a URL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serving import READ_ALL, Serving

CLIENTS = Path(__file__).parent / "clients"


def told(*command: str, directory: Path) -> Any:
    """What a client prints."""
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    done = subprocess.run(command, capture_output=True, cwd=directory, env=environment, check=False, timeout=110)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


class Node:
    """The npm package in a folder of its own, as its lock file pins it."""

    def __init__(self, directory: Path) -> None:
        programs = {name: shutil.which(name) for name in ("node", "npm")}
        assert all(programs.values()), "there is no node or no npm here: sh devstack/packages.sh tests"
        self._node, npm = str(programs["node"]), str(programs["npm"])
        self._directory = directory
        for file in ("package.json", "package-lock.json", "client.js"):
            shutil.copy(CLIENTS / file, directory)
        command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=directory, capture_output=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr.decode()

    def __call__(self, boot: Serving, **options: Any) -> Any:
        asked = json.dumps({"endpoint": f"{boot.server.url}/spring", **options})
        return told(self._node, "client.js", asked, directory=self._directory)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(tmp_path_factory.mktemp("node"))


def by_python(boot: Serving, directory: Path, name: str, profile: str, label: str = "main") -> Any:
    token = boot.token(f"{READ_ALL} config:encrypt config:decrypt")
    asked = {"address": f"{boot.server.url}/spring", "name": name, "profile": profile, "label": label, "token": token}
    return told(sys.executable, str(CLIENTS / "client.py"), json.dumps(asked), directory=directory)


@pytest.mark.parametrize("how", ["auth", "headers", "bearer"])
def test_node_reads_with_the_token_where_it_can_put_it(boot: Serving, node: Node, how: str) -> None:
    token = boot.token()
    given: dict[str, Any] = {
        "auth": {"auth": {"user": "foo", "pass": token}},
        "headers": {"headers": {"X-Config-Token": token}},
        "bearer": {"headers": {"Authorization": f"Bearer {token}"}},
    }[how]
    answer = node(boot, name="foo", profiles=["dev"], **given)
    assert answer["properties"] == {
        "bar": "spam",
        "foo": "from foo development",
        "server.port": 8081,
        "level": "debug",
        "demo.list[0]": "a",
        "demo.list[1]": "b",
        "info.description": "shared",
    }
    assert answer["tree"]["demo"] == {"list": ["a", "b"]}
    assert (answer["name"], answer["profiles"], answer["label"]) == ("foo", ["dev"], None)


def test_node_reads_several_profiles_documents_and_a_label(boot: Serving, node: Node) -> None:
    auth = {"user": "x", "pass": boot.token()}
    answer = node(boot, name="multi", profiles="dev,cloud", auth=auth)
    assert answer["properties"]["name"] == "in development"
    assert answer["properties"]["extra"] == "${name}"
    assert answer["tree"]["nested"] == {"a": 1, "b": ["x", "y"]}
    assert node(boot, name="foo", profiles="dev", label="stable", auth=auth)["properties"]["only"] == "stable"
    assert node(boot, name="encrypted", auth=auth)["properties"]["password"] == "mysecret"


def test_node_is_told_what_it_may_not_have(boot: Serving, node: Node) -> None:
    def failure(**options: Any) -> Any:
        return node(boot, **options)["failure"]

    other = {"user": "x", "pass": boot.token("config:read:bar")}
    assert failure(name="foo", auth=other) == "Invalid response: 403"
    assert failure(name="foo") == "Invalid response: 401"
    assert failure(name="foo", label="nowhere", auth={"user": "x", "pass": boot.token()}) == "Invalid response: 404"


def test_python_reads_a_configuration_and_a_file_and_encrypts(boot: Serving, tmp_path: Path) -> None:
    answer = by_python(boot, tmp_path, "foo", "dev")
    assert answer["config"]["foo"] == "from foo development"
    assert answer["config"]["server"] == {"port": 8081}
    assert answer["config"]["demo"] == {"list": ["a", "b"]}
    assert answer["config"]["info"] == {"description": "shared"}
    assert answer["file"] == "listen 8081; # from foo development\n"
    assert answer["decrypted"] == "a secret"


def test_python_reads_documents_and_a_label(boot: Serving, tmp_path: Path) -> None:
    assert by_python(boot, tmp_path, "multi", "cloud")["config"]["name"] == "in the cloud"
    assert by_python(boot, tmp_path, "foo", "dev", "release(_)1")["config"]["foo"] == "released"
