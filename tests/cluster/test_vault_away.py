"""OpenBao or the issuer gone: what is known goes on, what is new waits, and health says why."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from devstack.bao import running_bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.cluster.clients import EventClient, WebSocketClient, ask, on_each_worker
from tests.cluster.conftest import NewStack
from tests.cluster.stack import BRISK, Stack, running
from tests.support import eventually

CONFIGURATION = "password: ${vault:kv/services/pay/prod/db#password}\n"


@pytest.mark.slow
def test_with_vault_gone_secrets_in_memory_are_served_as_stale_and_a_cold_worker_asks_for_patience(
    new_stack: NewStack,
) -> None:
    with running_bao() as bao:
        stack = new_stack(bao=bao)
        bao.put("services/pay/prod/db", {"password": "p"})
        stack.origin.write({"pay.yml": CONFIGURATION, "plain.yml": "n: 0\n"})
        token = stack.token("pay")
        with running(stack.server(SECRET_TTL_SECONDS="1")) as server:
            with on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": None})) as clients:
                eventually(lambda: all(client.held() for client in clients))
                etag = ask(server, "/v1/config/pay/prod", token).json()["etag"]
                bao.stop()

                def told() -> set[tuple[int, str]]:
                    answers = [ask(server, "/v1/config/pay/prod", token) for _ in range(6)]
                    assert {answer.json()["config"]["password"] for answer in answers} == {"p"}
                    assert {answer.json()["etag"] for answer in answers} == {etag}
                    return {
                        (answer.status_code, answer.headers.get("X-Config-Stale", "").partition(";")[0])
                        for answer in answers
                    }

                eventually(lambda: told() == {(200, "vault")})
                assert ask(server, "/health/ready").status_code == 200
                eventually(lambda: ask(server, "/health").json()["parts"]["vault"]["status"] == "degraded")
            killed = set(server.workers)
            for worker in killed:
                server.kill_worker(worker)  # those that follow hold no secret
            eventually(lambda: len(server.workers) == 2 and not killed & set(server.workers), timeout=30)
            eventually(lambda: set(server.installed) == set(server.workers), timeout=30)
            eventually(lambda: knows_the_keys_everywhere(server, token), timeout=30)
            for _ in range(6):
                answer = ask(server, "/v1/config/pay/prod", token)
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert "services" not in answer.text
            assert ask(server, "/v1/config/plain/prod", stack.token("plain")).json()["config"] == {"n": 0}


@pytest.mark.slow
def test_with_the_issuer_gone_known_keys_verify_on_and_a_server_that_never_had_any_says_so(
    new_stack: NewStack,
) -> None:
    issuer = LocalIssuer().start()
    stack = new_stack(issuer=issuer)
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    with running(stack.server()) as server:
        eventually(lambda: knows_the_keys_everywhere(server, token), timeout=30)
        issuer.close()
        for _ in range(6):
            assert ask(server, "/v1/config/pay/prod", token).status_code == 200
        with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as clients:
            eventually(lambda: all(client.held() for client in clients))
        server.stop()
        server.start()  # ready: there is a configuration to serve
        for _ in range(4):
            answer = ask(server, "/v1/config/pay/prod", token)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        eventually(lambda: ask(server, "/health").json()["parts"]["keys"]["status"] == "down")
        assert ask(server, "/health/ready").status_code == 200


@pytest.mark.slow
def test_when_vault_is_back_streams_that_were_told_of_stale_secrets_are_told_so(new_stack: NewStack) -> None:
    """Nothing has moved then, so no revision says it: the heartbeat looks."""
    with running_bao() as bao:
        stack: Stack = new_stack(bao=bao)
        bao.put("services/pay/prod/db", {"password": "p"})
        stack.origin.write({"pay.yml": CONFIGURATION})
        token = stack.token("pay")
        server = stack.server(application=BRISK, SECRET_TTL_SECONDS="1")
        with running(server):
            eventually(lambda: knows_the_keys_everywhere(server, token), timeout=30)
            with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as readers:
                for reader in readers:  # both workers have read the secret
                    eventually(reader.held)
            bao.pause()

            def reasons(client: WebSocketClient) -> list[str]:
                changes = client.told.of("change")
                return [each["reason"] for each in changes[-1].get("stale", [])] if changes else ["none yet"]

            with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as clients:
                try:
                    stack.origin.write({"application.yml": "log: info\n"})
                    stack.hook(server)
                    eventually(lambda: all(reasons(client) == ["vault"] for client in clients), timeout=30)
                finally:
                    bao.resume()
                eventually(lambda: all(reasons(client) == [] for client in clients), timeout=40)


def knows_the_keys_everywhere(server: Server, token: str) -> bool:
    """Ready is one worker's word: whether each of them verifies the token."""
    try:
        with on_each_worker(server, lambda: WebSocketClient(server, token, {})):
            return True
    except InvalidStatus:
        return False
