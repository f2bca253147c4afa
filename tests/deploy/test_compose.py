"""config/compose: no engine is at hand to run it, so what can be seen without one."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from app.settings import READERS
from devstack.server import PREFIX, ROOT

DIRECTORY = ROOT / "config" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((DIRECTORY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVER: dict[str, Any] = SERVICES["server-1"]
SETTINGS: dict[str, str] = SERVER["environment"]


def test_it_is_what_the_compose_specification_expects() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(DIRECTORY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_setting_is_one_and_all_required_ones_are_there() -> None:
    names = {name.removeprefix(PREFIX).lower() for name in SETTINGS}
    assert names <= set(READERS)
    assert {"repo_url", "jwt_issuer", "jwt_audience"} <= names
    readable = {name for name, value in SETTINGS.items() if value.startswith("/run/secrets/")}
    assert {SETTINGS[name].removeprefix("/run/secrets/") for name in readable} == set(SERVER["secrets"])


def test_two_servers_differ_in_their_data_alone() -> None:
    first, second = (dict(SERVICES[name]) for name in ("server-1", "server-2"))
    assert first.pop("volumes") != second.pop("volumes")
    assert first == second


def test_what_is_mounted_from_here_is_here() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DIRECTORY / source).exists(), (name, volume)


def test_the_shipped_nginx_configuration_leads_to_both_servers() -> None:
    script = SERVICES["nginx"]["command"][-1].split("exec")[0]
    local = script.replace("/shipped", str(ROOT / "config" / "nginx")).replace("> /etc/nginx/conf.d/default.conf", "")
    done = subprocess.run(["sh", "-ec", local], capture_output=True, text=True, check=True)
    assert done.stdout.count("server server-1:8000; server server-2:8000;") == 1
    assert "127.0.0.1:8000" not in done.stdout
    paths = {each["target"] for each in SERVICES["nginx"]["secrets"]}
    assert all(path in done.stdout for path in paths)


def test_prometheus_scrapes_both_servers_where_their_metrics_are() -> None:
    (job,) = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())["scrape_configs"]
    port = SETTINGS["CONFIG_SERVER_METRICS"]
    assert job["static_configs"] == [{"targets": [f"server-1:{port}", f"server-2:{port}"]}]
    assert job["job_name"] == "config-server"  # the alerts name it


def test_the_realm_makes_tokens_that_the_server_takes() -> None:
    realm = json.loads((DIRECTORY / "keycloak-realm.json").read_text())
    assert SETTINGS["CONFIG_SERVER_JWT_ISSUER"] == f"http://keycloak:8080/realms/{realm['realm']}"
    scopes = {scope["name"]: scope["protocolMappers"][0]["config"] for scope in realm["clientScopes"]}
    audiences = {config["included.custom.audience"] for config in scopes.values()}
    assert audiences == {SETTINGS["CONFIG_SERVER_JWT_AUDIENCE"]}
    assert {name for client in realm["clients"] for name in client["defaultClientScopes"]} == {*scopes, "basic"}


def test_the_setup_makes_every_secret_once(tmp_path: Path) -> None:
    command = ["sh", str(DIRECTORY / "setup.sh"), str(tmp_path / "secrets")]
    subprocess.run(command, check=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    subprocess.run(command, check=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == made


def test_the_scripts_are_scripts() -> None:
    subprocess.run(["bash", "-n", str(DIRECTORY / "gitea.sh")], check=True)
    for service in ("nginx", "openbao-setup"):
        subprocess.run(["sh", "-n", "-c", SERVICES[service]["command"][-1]], check=True)


def test_the_grace_period_is_longer_than_the_goodbyes() -> None:
    assert int(SERVER["stop_grace_period"].removesuffix("s")) > 10_000 / 200 + 10
