"""What a server writes: one request can be followed from its line to another host, and hot reads may be sampled."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.observability import Behalf, current_request
from app.observability.behalf import SECONDS
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.observability.logged import lines, out
from tests.serving import BRISK, Serving, serving, serving_origin
from tests.support import eventually
from tests.valkeys import valkey

__all__ = ["out", "valkey"]

#: Followers hear of a move by the bus, and not by a look at the disk or at Redis that may be faster.
BY_THE_BUS = replace(BRISK, follow=600.0, head_check=600.0)


@pytest.fixture
def hosts(tmp_path: Path, issuer: LocalIssuer, valkey: Valkey) -> Iterator[tuple[Serving, Serving]]:
    """Two hosts, each with a mirror and a puller of its own, and one Redis between them."""
    (tmp_path / "key").write_text("k" * 32)
    settings: dict[str, Any] = {"redis_url": valkey.url, "key_file": tmp_path / "key", "timings": BY_THE_BUS}
    with ExitStack() as stack:
        first = stack.enter_context(serving(tmp_path / "first", issuer, {"pay.yml": "a: 1\n"}, **settings))
        yield first, stack.enter_context(serving_origin(tmp_path / "second", issuer, first.origin, **settings))


def test_the_id_of_a_request_is_in_the_lines_of_every_host_that_works_for_it(
    hosts: tuple[Serving, Serving], out: io.StringIO
) -> None:
    first, second = hosts
    first.origin.write({"pay.yml": "a: 2\n"}, "more")
    token, named = first.token("config:write"), {"X-Request-ID": "ask-1"}
    assert first.ask("/v1/admin/refresh", token=token, method="POST", headers=named).status_code == 200
    eventually(lambda: second.config("pay/prod") == {"a": 2})

    def mine(message: str) -> int:
        return len(
            [line for line in lines(out) if (line.get("http.request.id"), line["message"]) == ("ask-1", message)]
        )

    # The first is written when readers have the world already, the second when the puller has been woken.
    eventually(lambda: (mine("world.installed"), mine("fetch.asked")) == (2, 2))
    assert mine("request") == 1


def test_a_fetch_of_its_own_accord_is_nobodys(hosts: tuple[Serving, Serving], out: io.StringIO) -> None:
    first, _ = hosts
    first.origin.write({"pay.yml": "a: 3\n"}, "more")
    first.server.services.scheduler.wake()
    eventually(lambda: first.config("pay/prod") == {"a": 3})
    # It is written when readers have the world already.
    installed = eventually(lambda: [line for line in lines(out) if line["message"] == "world.installed"])
    assert not [line for line in installed if "http.request.id" in line]


def test_of_many_good_reads_one_is_logged_and_every_one_is_in_the_trail(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao, out: io.StringIO
) -> None:
    bao.put("services/sampled/prod/db", {"password": "s3cret"})
    files = {"sampled.yml": "password: ${vault:kv/services/sampled/prod/db#password}\n"}
    with serving(tmp_path, issuer, files, vault=bao, log_reads_one_of=10) as server:
        bearer = issuer.token(sub="reader", scope="config:read:*/*")
        for _ in range(25):
            assert server.get("sampled/prod", token=bearer).status_code == 200
        for path in ("/v1/config/sampled/prod?label=none", "/v1/config/sampled/prod?format=none"):
            assert server.ask(path).status_code >= 400
        server.refresh()
    told = [line for line in lines(out) if line["message"] == "request"]
    reads = [line for line in told if line["http.response.status_code"] == 200 and line["http.request.method"] == "GET"]
    assert [line["sampled"] for line in reads] == [10, 10, 10]  # the first, the eleventh, the twenty-first
    assert sorted(line["http.response.status_code"] for line in told if line not in reads) == [200, 400, 404]

    texts = [file.read_text() for file in (tmp_path / "data" / "audit").iterdir()]
    trail = [json.loads(line) for text in texts for line in text.splitlines()]
    reads = [each for each in trail if each["action"] == "secrets.read" and each["subject"] == "reader"]
    assert sum(each.get("count", 1) for each in reads) == 25


def test_without_the_setting_every_read_has_its_line(tmp_path: Path, issuer: LocalIssuer, out: io.StringIO) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}) as server:
        for _ in range(5):
            server.config("pay/prod")
    told = [line for line in lines(out) if line["message"] == "request"]
    assert (len(told), [line for line in told if "sampled" in line]) == (5, [])


def test_what_is_done_long_after_a_request_is_not_its_doing() -> None:
    now = [0.0]
    behalf = Behalf(lambda: now[0])
    behalf.note("ask-1")
    behalf.note(None)
    told = []
    for moment in (0.0, SECONDS - 1, SECONDS):
        now[0] = moment
        with behalf.working():
            told.append(current_request())
    assert (told, current_request()) == (["ask-1", "ask-1", None], None)
