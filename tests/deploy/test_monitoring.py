"""Dashboard, alerts and runbook: every query names metrics that there are, and a real Prometheus understands it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.observability.families import create_families
from app.version import VERSION
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.processes import end, free_port, launch, wait_ready
from devstack.server import ROOT
from tests.cluster.clients import ask
from tests.cluster.stack import Stack
from tests.support import eventually

CONFIG = ROOT / "config"
ALERTS = CONFIG / "prometheus" / "alerts.yml"
#: Made by prometheus-flask-exporter.
HTTP = {"config_server_http_request_duration_seconds", "config_server_http_request_total"}
NAME = re.compile(r"config_server_[a-z_]+")


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def queries() -> list[str]:
    dashboard = json.loads((CONFIG / "grafana" / "dashboards" / "config-server.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def known() -> set[str]:
    """Every name under which a value of ours can be scraped."""
    registry = CollectorRegistry()
    create_families(registry)
    families = {family.name: family.type for family in registry.collect()} | dict.fromkeys(HTTP, "histogram")
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    return {f"{name}{suffix}" for name, kind in families.items() for suffix in suffixes[kind]} | HTTP


@pytest.mark.parametrize("query", [*queries(), *(rule["expr"] for rule in alerts())])
def test_every_query_names_metrics_that_exist(query: str) -> None:
    assert set(NAME.findall(query)) <= known(), query


def test_every_alert_has_its_section_in_the_runbook_and_no_section_is_without_its_alert() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_prometheus_itself_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


class Prometheus:
    """A real one with our alert rules, that scrapes one server every second."""

    def __init__(self, directory: Path, target: int) -> None:
        directory.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        configuration = yaml.safe_load((CONFIG / "prometheus" / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(ALERTS)]
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        listen = f"--web.listen-address={self.url.removeprefix('http://')}"
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", listen]
        self._log = directory / "log"
        self._process = launch(command, self._log, cwd=directory, env={"PATH": "/usr/bin:/bin"})
        wait_ready("Prometheus", self._is_ready, self._process, self._log, timeout=60)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> dict[str, str]:
        """alert -> ok, err or unknown (not asked yet)."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def firing(self) -> set[str]:
        """Alerts that are pending or firing."""
        found = httpx.get(f"{self.url}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found}

    def close(self) -> None:
        end(self._process, timeout=10)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, bao: Bao, issuer: LocalIssuer
) -> Iterator[tuple[Stack, Any, Prometheus]]:
    stack = Stack(tmp_path_factory.mktemp("monitored"), bao, issuer)
    bao.put("services/pay/prod/monitored", {"password": "p"})
    stack.origin.write({"pay.yml": "a: 1\npassword: ${vault:kv/services/pay/prod/monitored#password}\n"})
    server = stack.server(METRICS="public").start()
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus") / "run", server.port)
    yield stack, server, prometheus
    prometheus.close()
    stack.close()


@pytest.mark.slow
def test_a_real_prometheus_scrapes_a_server_and_answers_every_query(watched: tuple[Stack, Any, Prometheus]) -> None:
    stack, server, prometheus = watched
    for token in (stack.token("pay"), None):
        for _ in range(4):
            ask(server, "/v1/config/pay/prod", token)
    eventually(lambda: prometheus.query("sum(config_server_denials_total) >= 4"), timeout=60)
    for query in queries():
        prometheus.query(query.replace("$instance", ".*").replace("$__rate_interval", "1m"))
    # A scrape that takes longer than its second leaves a gap, and an alert that is pending until the next one.
    eventually(lambda: prometheus.query(f'config_server_build_info{{version="{VERSION}"}}'), timeout=60)
    limit = 2 * int(server.settings["STREAMS_PER_WORKER"])
    eventually(lambda: prometheus.query(f"config_server_streams_limit == {limit}"), timeout=60)
    eventually(lambda: set(prometheus.rules().values()) == {"ok"} and not prometheus.firing(), timeout=60)


@pytest.mark.slow
def test_what_goes_wrong_raises_its_alert(watched: tuple[Stack, Any, Prometheus]) -> None:
    stack, server, prometheus = watched
    stack.origin.write({"pay.yml": "a: [\n"})
    stack.refresh(server)
    ask(server, "/v1/config/pay/prod", stack.token("pay"))
    eventually(lambda: "ConfigServerTargetsHeldBack" in prometheus.firing(), timeout=60)
    stack.origin.write({"pay.yml": "a: 2\n"})
    stack.refresh(server)
    ask(server, "/v1/config/pay/prod", stack.token("pay"))
    eventually(lambda: "ConfigServerTargetsHeldBack" not in prometheus.firing(), timeout=60)
