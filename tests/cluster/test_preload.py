"""gunicorn's `--preload`: the application is made before the fork, and every worker is whole all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.audit import verify_directory
from tests.cluster.clients import EventClient, on_each_worker
from tests.cluster.conftest import NewStack
from tests.cluster.stack import running
from tests.support import eventually

TEXT = "n: {}\npassword: ${{vault:kv/services/preloaded/prod/db#password}}\n"


@pytest.mark.slow
def test_workers_forked_from_a_loaded_application_follow_and_record_each_for_itself(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.bao.put("services/preloaded/prod/db", {"password": "s3cret"})
    stack.origin.write({"preloaded.yml": TEXT.format(1)}, "one")
    token = stack.token("preloaded")
    with running(stack.server(options="--preload")) as server:
        with on_each_worker(server, lambda: EventClient(server, token, {"preloaded/prod": None})) as clients:
            stack.origin.write({"preloaded.yml": TEXT.format(2)}, "two")
            stack.refresh(server)
            eventually(lambda: [held.doc["n"] for client in clients for held in client.told.held().values()] == [2, 2])
        assert server.stop() == 0
        verdicts = verify_directory(Path(server.settings["DATA_DIR"]) / "audit")
    assert len(verdicts) == 2
    assert all(verdict.intact and verdict.records for verdict in verdicts.values())
