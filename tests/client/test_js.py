"""The client for browsers and Node, in a headless Chromium and in Node, against a running server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.effective import canonical
from devstack.server import ROOT
from tests.browser.chromium import Chromium, Page
from tests.browser.site import Site
from tests.client.support import FAST, Office
from tests.fault_proxy import FaultProxy
from tests.support import eventually

MODULE = ROOT / "client" / "js" / "config-client.js"
#: The same as FAST, in milliseconds.
TIMINGS = {
    "connect": 1000 * FAST.connect,
    "request": 1000 * FAST.request,
    "poll": 200,
    "backoff": 1000 * FAST.backoff,
    "backoffMost": 1000 * FAST.backoff_most,
    "climb": 1000 * FAST.climb,
}
DOCUMENTS = [
    {
        "a": 1.0,
        "b": 1e21,
        "c": 1e-7,
        "d": 2**60,
        "é": "\u2028",
        "😀": [],
        "\ufb33": {},
        "z": None,
        "y": [True, {"x": "\b"}],
    },
    {"10": 1, "9": 2, "": 3, "__proto__": {"x": 1}},
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser.start()
    browser.close()


@pytest.fixture
def page(chromium: Chromium, site: Site) -> Iterator[Page]:
    opened = chromium.open(f"{site.origin}/index.html")
    eventually(lambda: opened.read("typeof begin") == "function")
    yield opened
    opened.close()


def options(office: Office, service: str, url: str = "", **more: Any) -> dict[str, Any]:
    token = office.issuer.token(sub=service, scope="config:read", service=service)
    given = {"url": url or office.server.url, "service": service, "env": "production", "token": token}
    return {**given, "timings": TIMINGS, **more}


def begun(page: Page, given: dict[str, Any]) -> Any:
    return page.call("begin", given)


def state(page: Page) -> Any:
    return page.call("state")


@pytest.mark.slow
def test_a_page_reads_follows_and_rejects(page: Page, office: Office) -> None:
    service = office.new_service("db: {pool: 5}\nhosts: [a]\n")
    assert begun(page, options(office, service)) == {"log": "info", "db": {"pool": 5}, "hosts": ["a"]}
    eventually(lambda: state(page)["transport"] == "websocket")
    office.change(service, "db: {pool: 9}\nhosts: [a]\n")
    eventually(lambda: state(page)["pool"] == 9)
    changes = [detail for name, detail in state(page)["seen"] if name == "change"]
    assert [(each["keys"], each["old"]["db"], each["new"]["db"]) for each in changes] == [
        (["db.pool"], {"pool": 5}, {"pool": 9})
    ]
    office.change(service, "db: {pool: 99}\nhosts: [a]\n")
    eventually(lambda: [name for name, _ in state(page)["seen"]].count("rejected") == 1)
    assert state(page)["pool"] == 9
    eventually(lambda: (office.instance(service).get("rejected") or {}).get("reason") == "RangeError: too many")
    office.change(service, "db: {pool: 10}\nhosts: [a]\n")
    eventually(lambda: state(page)["pool"] == 10)
    eventually(lambda: office.instance(service).get("behind") is False)


@pytest.mark.slow
def test_a_page_falls_to_event_streams_then_to_polling_and_climbs_up_again(page: Page, office: Office) -> None:
    service = office.new_service("db: {pool: 1}\n")
    with FaultProxy(office.server.port) as proxy:
        proxy.up.altered = {b"/v1/stream": b"/v1/nothin"}
        begun(page, options(office, service, proxy.url))
        eventually(lambda: state(page)["transport"] == "sse", timeout=30)
        office.change(service, "db: {pool: 2}\n")
        eventually(lambda: state(page)["pool"] == 2)
        proxy.up.altered = {b"/v1/stream": b"/v1/nothin", b"/v1/events": b"/v1/nothin"}
        proxy.cut()
        eventually(lambda: ["connected", {"transport": "poll"}] in state(page)["seen"], timeout=30)
        proxy.up.altered = {}
        office.change(service, "db: {pool: 3}\n")
        eventually(lambda: state(page)["pool"] == 3)
        eventually(lambda: state(page)["transport"] == "websocket", timeout=30)


def test_a_document_that_is_damaged_on_its_way_is_never_taken(page: Page, office: Office) -> None:
    service = office.new_service("db: {pool: 1}\nname: '1111'\n")
    with FaultProxy(office.server.port) as proxy:
        begun(page, options(office, service, proxy.url))
        eventually(lambda: state(page)["transport"] == "websocket")
        proxy.down.altered = {b"2222": b"6666"}
        office.change(service, "db: {pool: 1}\nname: '2222'\n")
        eventually(lambda: "disconnected" in [name for name, _ in state(page)["seen"]])
        assert state(page)["config"]["name"] == "1111"
        proxy.down.altered = {}
        eventually(lambda: state(page)["config"]["name"] == "2222", timeout=30)


def test_a_page_starts_with_what_it_has_kept_while_the_server_is_away(
    chromium: Chromium, page: Page, office: Office, site: Site
) -> None:
    service = office.new_service("db: {pool: 7}\n")
    with FaultProxy(office.server.port) as proxy:
        begun(page, options(office, service, proxy.url, keep=True))
        proxy.refusing = True
        proxy.cut()
        again = chromium.open(f"{site.origin}/index.html?again")
        eventually(lambda: again.read("typeof begin") == "function")
        begun(again, options(office, service, proxy.url, keep=True))
        assert (state(again)["pool"], state(again)["stale"]) == (7, ["disk"])
        proxy.refusing = False
        eventually(lambda: state(again)["transport"] == "websocket", timeout=30)
        again.close()


def test_a_service_without_a_grant_is_told_so(page: Page, office: Office) -> None:
    given = options(office, office.new_service("n: 1\n"), token=office.issuer.token(scope="config:read:other"))
    refusal = page.read(f"begin({json.dumps(given)}).catch((error) => [error.name, error.status, error.type])")
    assert refusal == ["ConfigError", 403, "forbidden"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=["values", "names"])
def test_the_canonical_form_is_the_servers(page: Page, document: Any) -> None:
    text = json.dumps(json.dumps(document))
    assert page.read(f"library.canonical(JSON.parse({text}))") == canonical(document).decode()


def test_a_patch_leaves_the_old_document_and_leads_nowhere_without_a_place(page: Page) -> None:
    steps = [
        {"op": "add", "path": "/b~1c", "value": 1},
        {"op": "remove", "path": "/list/0"},
        {"op": "replace", "path": "/a/x", "value": None},
    ]
    page.read("window.before = {a: {x: 1}, list: [1, 2]}")
    assert page.read(f"library.patched(before, {json.dumps(steps)})") == {"a": {"x": None}, "list": [2], "b/c": 1}
    assert page.read("before") == {"a": {"x": 1}, "list": [1, 2]}
    wrong = '[{op: "remove", path: "/nope"}]'
    assert page.read(f"(() => {{ try {{ library.patched(before, {wrong}) }} catch (e) {{ return e.message }} }})()")


@contextmanager
def following(given: dict[str, Any], told: Path, *flags: str) -> Iterator[None]:
    program = shutil.which("node")
    assert program, "there is no Node here: sh devstack/packages.sh tests"
    command = [program, *flags, str(Path(__file__).parent / "follow.mjs"), str(MODULE), json.dumps(given)]
    with told.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            assert process.wait(60) == 0, "it ends by itself when the client is closed"
        finally:
            process.kill()  # nothing, where it has ended
            process.wait()


def lines(told: Path) -> list[Any]:
    return [json.loads(line) for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_node_follows_and_rejects(office: Office, tmp_path: Path) -> None:
    service, told = office.new_service("db: {pool: 5}\n"), tmp_path / "told"
    with following(options(office, service), told, "--expose-gc"):
        eventually(lambda: "connected" in [name for name, _ in lines(told)], timeout=30)
        assert ["started", {"log": "info", "db": {"pool": 5}}] in lines(told)
        office.change(service, "db: {pool: 99}\n")
        eventually(lambda: "rejected" in [name for name, _ in lines(told)])
        office.change(service, "db: {pool: 9}\n")
        eventually(lambda: "change" in [name for name, _ in lines(told)])
        eventually(lambda: office.instance(service).get("behind") is False)
