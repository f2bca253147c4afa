"""What a running server leaves to read: lines, counts and trails that are right over all its workers."""

from __future__ import annotations

import json
from typing import Any

from app.audit import verify_directory
from devstack.server import Server
from tests.cluster.clients import ask, data_of, samples
from tests.cluster.stack import Stack
from tests.support import eventually, whole_lines

ROUTE = 'route="/v1/config/<service>/<env>"'


def counted(server: Server, status: int) -> float:
    name = f'config_server_http_request_duration_seconds_count{{method="GET",{ROUTE},status="{status}"}}'
    return samples(server).get(name, 0)


def test_requests_to_both_workers_are_counted_once_each_and_every_line_bears_its_request(
    shared: Stack, duo: Server
) -> None:
    token = shared.token("tracked")
    shared.origin.write({"tracked.yml": "n: 0\n"})
    shared.refresh(duo)
    good, bad = counted(duo, 200), counted(duo, 401)
    names: list[str] = []

    def answered_by_both() -> bool:
        """The kernel chooses which worker takes a connection."""
        for _ in range(60):
            names.append(f"tracked-{len(names)}")
            answer = ask(duo, "/v1/config/tracked/prod", token, headers={"X-Request-ID": names[-1]})
            assert (answer.status_code, answer.headers["X-Request-ID"]) == (200, names[-1])
        return len({line["process.pid"] for line in mine()}) == 2

    def mine() -> list[dict[str, Any]]:
        return [line for line in duo.log_lines() if line.get("http.request.id") in names]

    eventually(answered_by_both, timeout=60)
    for _ in range(15):
        assert ask(duo, "/v1/config/tracked/prod").status_code == 401
    assert counted(duo, 200) - good == len(names)
    assert counted(duo, 401) - bad == 15
    assert all(line.get("http.request.id") for line in duo.log_lines() if line["message"] == "request")
    assert sorted(line["http.request.id"] for line in mine()) == sorted(names)
    assert {line["config.topic"] for line in mine()} == {"tracked/prod/main"}
    assert {line["user.id"] for line in mine()} == {"tracked"}


def test_a_refresh_is_on_record_before_it_is_answered_and_the_chains_of_living_workers_are_whole(
    shared: Stack, duo: Server
) -> None:
    answer = shared.refresh(duo)
    trails = data_of(duo) / "audit"
    records = [json.loads(line) for path in trails.glob("*.jsonl") for line in whole_lines(path)]
    (mine,) = [record for record in records if record["request_id"] == answer.headers["X-Request-ID"]]
    assert (mine["action"], mine["subject"]) == ("config.refresh", "admin")
    # A worker may be at its next record just now.
    eventually(lambda: (verdicts := verify_directory(trails)) and all(each.intact for each in verdicts.values()))
