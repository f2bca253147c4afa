"""Nobody comes back to life: who was revoked stays so when Redis is emptied, rolled back, or all is started anew."""

from __future__ import annotations

import pytest

from devstack.server import Server
from tests.cluster.clients import ask
from tests.cluster.conftest import NewStack
from tests.cluster.stack import Stack, timed

READ = "/v1/config/pay/prod"
#: What is told to Redis, and asked of it, every few seconds: in a fraction of that.
BRISK = timed(head_check=0.3, redis_pause=0.3, drain=0.1)


def status(server: Server, token: str) -> int:
    return ask(server, READ, token).status_code


def revoked(stack: Stack, server: Server, subject: str) -> str:
    """A token of somebody who was let in, and is not any more."""
    token = stack.issuer.token(sub=subject, scope="config:read", service="pay")
    assert status(server, token) == 200
    body = {"kind": "sub", "value": subject}
    assert ask(server, "/v1/admin/revocations", stack.admin, "POST", json=body).status_code == 204
    assert status(server, token) == 401
    return token


@pytest.mark.slow
def test_who_was_revoked_stays_so_whatever_redis_loses_and_whatever_is_started_anew(new_stack: NewStack) -> None:
    stack = new_stack(valkey=None)
    stack.origin.write({"pay.yml": "n: 0\n"})
    server = stack.server(application=BRISK, WORKERS="1").start()
    copy = stack.valkey.save()
    tokens = [revoked(stack, server, "first")]
    stack.valkey.restart(empty=True)
    tokens.append(revoked(stack, server, "second"))
    stack.valkey.restore(copy)  # as it was before anybody was revoked
    assert [status(server, token) for token in tokens] == [401, 401]
    tokens.append(revoked(stack, server, "third"))
    server.kill()
    stack.valkey.restart(empty=True)
    server.start()
    assert [status(server, token) for token in tokens] == [401, 401, 401]
    assert status(server, stack.token("pay")) == 200
    stack.close()
