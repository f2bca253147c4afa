"""Each alert, in Prometheus's own judgement: it fires when what it is for goes wrong for an hour, and no other does."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.deploy.test_monitoring import ALERTS, alerts

#: Minutes that are played, and the one that is looked at.
MINUTES, LOOK = 90, 85
#: Series (without prefix and instance) -> values, one for each minute, as promtool writes them: start+step x times.
WELL: Mapping[str, str] = {
    "git_last_success_timestamp_seconds": f"0+60x{MINUTES}",
    "targets_held_back": f"0x{MINUTES}",
    "labels_withheld": f"0x{MINUTES}",
    'vault_read_duration_seconds_count{outcome="ok"}': f"0+60x{MINUTES}",
    'vault_read_duration_seconds_count{outcome="unavailable"}': f"2x{MINUTES}",
    'stale{reason="vault"}': f"0x{MINUTES}",
    'stale{reason="git"}': f"1x{MINUTES}",
    'streams_open{transport="websocket"}': f"8000x{MINUTES}",
    'streams_open{transport="sse"}': f"900x{MINUTES}",
    "streams_limit": f"10000x{MINUTES}",
    'push_duration_seconds_bucket{le="1.0"}': f"0+10x{MINUTES}",
    'push_duration_seconds_bucket{le="2.5"}': f"0+10x{MINUTES}",
    'push_duration_seconds_bucket{le="5.0"}': f"0+10x{MINUTES}",
    'push_duration_seconds_bucket{le="+Inf"}': f"0+10x{MINUTES}",
    "bus_up": f"1x{MINUTES}",
    "audit_failures_total": f"3x{MINUTES}",
    "audit_records_total": f"0+1x{MINUTES}",
    'http_request_total{status="200"}': f"0+600x{MINUTES}",
    "jwks_last_success_timestamp_seconds": f"0+60x{MINUTES}",
    "up": f"1x{MINUTES}",
}
ILL: Mapping[str, Mapping[str, str]] = {
    "ConfigServerDown": {"up": "1x24 0x65"},
    "ConfigServerGitFetchFailing": {"git_last_success_timestamp_seconds": "0+60x24 1440x65"},
    "ConfigServerTargetsHeldBack": {"targets_held_back": "0x24 3x65"},
    "ConfigServerHeadsUnsigned": {"labels_withheld": "0x24 1x65"},
    "ConfigServerVaultFailing": {'vault_read_duration_seconds_count{outcome="unavailable"}': "0x24 0+6x65"},
    "ConfigServerStreamsNearLimit": {'streams_open{transport="sse"}': f"1100x{MINUTES}"},
    "ConfigServerPushSlow": {
        'push_duration_seconds_bucket{le="1.0"}': f"0x{MINUTES}",
        'push_duration_seconds_bucket{le="2.5"}': f"0x{MINUTES}",
    },
    "ConfigServerBusDown": {"bus_up": "1x24 0x65"},
    "ConfigServerAuditFailing": {"audit_failures_total": "0x79 1x10"},
    "ConfigServerAuditSilent": {"audit_records_total": "0+1x24 24x65"},
    "ConfigServerKeysStale": {"jwks_last_success_timestamp_seconds": "0+60x5 300x84"},
}


def judged(directory: Path, series: Mapping[str, str], firing: list[str]) -> str:
    """What promtool finds wrong with the claim that these alerts, and no others, fire."""
    test = {
        "interval": "1m",
        "input_series": [{"series": whole(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing", instance="a"})',
                "eval_time": f"{LOOK}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing],
            }
        ],
    }
    (directory / "test.yml").write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    command = ["promtool", "test", "rules", str(directory / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def whole(series: str) -> str:
    name, _, labels = series.partition("{")
    prefix = "" if name == "up" else "config_server_"
    return f'{prefix}{name}{{job="config-server",instance="a"{"," if labels else ""}{labels or "}"}'


def test_every_alert_has_an_illness_here() -> None:
    assert list(ILL) == [rule["alert"] for rule in alerts()]


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    assert judged(tmp_path, WELL, []) == ""


@pytest.mark.parametrize("alert", ILL)
def test_an_alert_fires_for_what_it_is_for_and_alone(tmp_path: Path, alert: str) -> None:
    assert judged(tmp_path, {**WELL, **ILL[alert]}, [alert]) == ""


def test_secrets_that_are_served_from_memory_are_vaults_failure_too(tmp_path: Path) -> None:
    """Nobody asks Vault while the breaker is open, so that no read fails either."""
    assert judged(tmp_path, {**WELL, 'stale{reason="vault"}': "0x24 1x65"}, ["ConfigServerVaultFailing"]) == ""
