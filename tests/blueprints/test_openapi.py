"""The OpenAPI document against the application that it describes, and the page for people."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from websockets.sync.client import connect

from app import ConfigServer
from app.blueprints.guard import ROUTES, Need
from app.blueprints.openapi import SIGNATURES, path_of
from app.blueprints.operations import OPERATIONS
from app.blueprints.spring import V2
from app.notices.signing import signature
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo

SECRET = "a shared secret of the forge"
FILES = {
    "application.yml": "log: info\n",
    "pay.yml": "db:\n  pool: 5\n  url: ${host:localhost}/x\n",
    "pay-prod.properties": "db.pool=9\n",
    "logback.xml": "<configuration level='${log}'/>\n",
    "broken.yml": "db: [\n",
    "twins.yml": "a.b: 1\na-b: 2\n",
    "deputy.yml": "password: ${vault:kv/services/pay/prod/db#password}\n",
}


@dataclass(frozen=True, slots=True)
class Api:
    """A running server, what it says of itself, and a client with a token for everything."""

    server: ConfigServer
    document: dict[str, Any]
    client: httpx.Client
    issuer: LocalIssuer
    bearer: str

    def operation(self, endpoint: str) -> tuple[str, str, dict[str, Any]]:
        """(method, path, operation) of an endpoint."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                if operation["operationId"] == endpoint:
                    return method.upper(), path, operation
        raise KeyError(endpoint)

    def check(self, schema: Mapping[str, Any], body: object) -> None:
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(body)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory = tmp_path_factory.mktemp("openapi")
    origin = OriginRepo(directory / "origin")
    origin.write(FILES)
    key_file = directory / "key"
    key_file.write_text("foo\n")
    with LocalIssuer() as issuer:
        server = ConfigServer(
            repo_url=origin.url,
            jwt_issuer=issuer.url,
            jwt_audience=(issuer.audience,),
            jwt_jwks_url=issuer.jwks_url,
            data_dir=directory / "data",
            bind="127.0.0.1:0",
            webhook_secret=SECRET,
            git_write=True,
            encrypt_key_file=key_file,
            decrypt_endpoint=True,
        )
        bearer = f"Bearer {issuer.token('ada', 'config:read:*/* config:write config:encrypt config:decrypt')}"
        with server, httpx.Client(base_url=server.url, headers={"Authorization": bearer}, timeout=60) as client:
            yield Api(server, client.get("/openapi.json").json(), client, issuer, bearer)


def test_document_is_valid_openapi(api: Api) -> None:
    assert api.document["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(api.document).iter_errors()) == []


def test_every_route_is_documented_and_nothing_else(api: Api) -> None:
    routed = {
        (path_of(rule), method)
        for rule in api.server.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method.upper()) for path, methods in api.document["paths"].items() for method in methods}
    assert documented == routed


def test_nothing_is_described_that_is_no_route(api: Api) -> None:
    assert set(OPERATIONS) == {rule.endpoint for rule in api.server.app.url_map.iter_rules()}


def test_every_parameter_in_a_path_is_described(api: Api) -> None:
    parameters = api.document["components"]["parameters"]
    for path, methods in api.document["paths"].items():
        for operation in methods.values():
            resolved = [
                parameters.get(each.get("$ref", "").rpartition("/")[2], each) for each in operation["parameters"]
            ]
            assert {each["name"] for each in resolved if each["in"] == "path"} == set(re.findall(r"{(.+?)}", path))


@pytest.mark.parametrize("endpoint", sorted(ROUTES))
def test_security_is_what_the_guard_demands(api: Api, endpoint: str) -> None:
    method, path, operation = api.operation(endpoint)
    names = {"service": "pay", "env": "prod", "path": "logback.xml", "name": "page.css"}
    if endpoint.startswith("spring."):
        names |= {"name": "pay", "profiles": "prod", "label": "main", "document": "pay-prod.yml"}
    url = path.format(**names)
    answer = httpx.request(
        method, api.server.url + url, headers=UPGRADE if endpoint == "stream.websocket" else {}, timeout=60
    )
    assert (answer.status_code == 401) == bool(operation["security"])
    assert ("401" in operation["responses"]) == bool(operation["security"])
    assert ({"bearer": []} in operation["security"]) == (ROUTES[endpoint] not in {Need.NOTHING, Need.SIGNATURE})


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "cfg.v1",
}
BODY = b'{"ref":"refs/heads/main"}'
JSON = {"Content-Type": "application/json"}
CHANGE = b'{"base": "%s", "label": "%s", "message": "m", "edits": [{"file": "pay.yml", "set": {"db.pool": 6}}]}'
CONFIRMED = b'{%s, "confirm": "0000000000000000000000000000000000000000"}'
#: `mysecret`, encrypted with the key `foo` in the documentation of Spring Cloud Config.
CIPHERTEXT = b"682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"
SIGNATURE = "sha256=" + hmac.digest(SECRET.encode(), BODY, hashlib.sha256).hex()


@dataclass(frozen=True, slots=True)
class Case:
    """A request to an endpoint, and the answer's status with a problem's type."""

    endpoint: str
    status: int
    kind: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


_CASES = (
    Case("config.read", 200, url="/v1/config/pay/prod"),
    Case("config.read", 200, url="/v1/config/pay/prod?explain=true&flat=true"),
    Case("config.read", 200, url="/v1/config/pay/prod?format=yaml"),
    Case("config.read", 200, url="/v1/config/pay/prod", headers={"Accept": "application/toml"}),
    Case("config.read", 304, url="/v1/config/pay/prod", headers={"If-None-Match": "*"}),
    Case("config.read", 400, "bad-input", "/v1/config/pay/prod?wait=99"),
    Case("config.read", 400, "bad-input", "/v1/config/pay/prod?nonsense=1"),
    Case("config.read", 400, "bad-input", "/v1/config/pay/prod", {"X-Config-Rev": "nonsense"}),
    Case("config.read", 401, "unauthenticated", "/v1/config/pay/prod", {"Authorization": "Bearer nonsense"}),
    Case("config.read", 404, "unknown-label", "/v1/config/pay/prod?label=nowhere"),
    Case("config.read", 404, "unknown-key", "/v1/config/pay/prod?key=nothing"),
    Case("config.read", 422, "bad-configuration", "/v1/config/broken/prod"),
    Case("config.read", 422, "secret-refused", "/v1/config/deputy/prod"),
    Case("config.read", 422, "format-collision", "/v1/config/twins/prod?format=env"),
    Case("config.file", 200, url="/v1/config/pay/prod/logback.xml"),
    Case("config.file", 304, url="/v1/config/pay/prod/logback.xml", headers={"If-None-Match": "*"}),
    Case("config.file", 404, "unknown-file", "/v1/config/pay/prod/nothing.xml"),
    Case("config.read", 404, "unknown-label", "/v1/config/pay/prod?at=1990-01-01T00:00:00Z"),
    Case("history.revisions", 200, url="/v1/history/pay/prod"),
    Case("history.revisions", 400, "bad-input", "/v1/history/pay/prod?cursor=nonsense"),
    Case("history.revisions", 404, "unknown-label", "/v1/history/pay/prod?label=nowhere"),
    Case("history.diff", 200, url="/v1/diff/pay/prod?from=main"),
    Case("history.diff", 200, url="/v1/diff/pay/prod?to_env=staging"),
    Case("history.diff", 200, url="/v1/diff/pay/prod?to_env=staging&format=patch"),
    Case("history.diff", 400, "bad-input", "/v1/diff/pay/prod"),
    Case("history.diff", 422, "bad-configuration", "/v1/diff/broken/prod?from=main"),
    Case("stream.websocket", 400, "bad-request", "/v1/stream"),
    Case("stream.websocket", 400, "bad-input", "/v1/stream", {**UPGRADE, "Sec-WebSocket-Protocol": "other"}),
    Case("stream.websocket", 400, "bad-handshake", "/v1/stream", {**UPGRADE, "Sec-WebSocket-Version": "12"}),
    Case("stream.websocket", 403, "forbidden", "/v1/stream", {**UPGRADE, "Origin": "https://elsewhere.example"}),
    Case("stream.events", 400, "bad-input", "/v1/events"),
    Case("stream.events", 400, "bad-input", "/v1/events?topic=pay"),
    Case("stream.events", 404, "unknown-label", "/v1/events?topic=pay/prod/nowhere"),
    Case("overview.status", 200),
    Case("overview.status", 400, "bad-input", "/v1/admin/status?x=1"),
    Case("overview.problems", 200),
    Case("overview.instances", 200, url="/v1/admin/instances?behind=true&service=pay&env=prod"),
    Case("overview.instances", 400, "bad-input", "/v1/admin/instances?limit=0"),
    Case("admin.refresh", 200),
    Case("hold.begin", 400, "bad-input", headers=JSON, body=b'{"commit": "main", "seconds": 1e9, "reason": "r"}'),
    Case("hold.begin", 200, headers=JSON, body=b'{"commit": "main", "seconds": 60, "reason": "r"}'),
    Case("hold.release", 200, headers=JSON, body=b"{}"),
    Case("hold.release", 400, "bad-input", headers=JSON, body=b"{}"),
    Case("changes.plan", 200, headers=JSON, body=b'{"edits": [{"file": "pay.yml", "set": {"db.pool": 6}}]}'),
    Case("changes.plan", 400, "bad-input", headers=JSON, body=b'{"edits": [{"file": "../pay.yml", "delete": true}]}'),
    Case("changes.plan", 413, "too-large", headers=JSON, body=bytes(9 << 20)),
    Case("changes.plan", 422, "bad-configuration", headers=JSON, body=b'{"edits": [{"file": "a.yml", "text": "["}]}'),
    Case("changes.change", 400, "bad-input", headers=JSON, body=b"{}"),
    Case("changes.change", 404, "unknown-label", headers=JSON, body=CHANGE % (b"0" * 40, b"nowhere")),
    Case("changes.change", 409, "conflict", headers=JSON, body=CHANGE % (b"0" * 40, b"main")),
    Case("changes.rollback", 200, headers=JSON, body=b'{"to": "main", "all": true}'),
    Case("changes.rollback", 409, "conflict", headers=JSON, body=CONFIRMED % b'"to": "main", "all": true'),
    Case("changes.promote", 200, headers=JSON, body=b'{"service": "pay", "from": "prod", "to": "dev"}'),
    Case(
        "changes.promote", 409, "conflict", headers=JSON, body=CONFIRMED % b'"service":"pay","from":"prod","to":"dev"'
    ),
    Case("encryption.encrypt", 200, headers=JSON, body=b'{"value": "x"}'),
    Case("encryption.encrypt", 400, "bad-input", headers=JSON, body=b"{}"),
    Case("encryption.decrypt", 400, "bad-input", headers=JSON, body=b'{"value": "{cipher}00"}'),
    Case("encryption.decrypt", 200, headers=JSON, body=b'{"value": "%s"}' % CIPHERTEXT),
    Case("spring.environment", 200, url="/spring/pay/prod"),
    Case("spring.environment", 200, url="/spring/pay/prod", headers={"Accept": V2}),
    Case("spring.environment", 304, url="/spring/pay/prod", headers={"If-None-Match": "*"}),
    Case("spring.environment", 401, url="/spring/pay/prod", headers={"Authorization": "Bearer nonsense"}),
    Case("spring.environment", 422, url="/spring/deputy/prod"),
    Case("spring.environment", 500, url="/spring/broken/prod"),
    Case("spring.labelled", 200, url="/spring/pay/prod/main"),
    Case("spring.labelled", 404, url="/spring/pay/prod/nowhere"),
    Case("spring.flat", 200, url="/spring/pay-prod.yml"),
    Case("spring.flat", 200, url="/spring/pay-prod.properties"),
    Case("spring.flat", 400, url="/spring/..-prod.yml"),
    Case("spring.file", 200, url="/spring/pay/prod/main/logback.xml"),
    Case("spring.encrypt", 200, headers={"Content-Type": "text/plain"}, body=b"x"),
    Case("spring.decrypt", 200, headers={"Content-Type": "text/plain"}, body=CIPHERTEXT),
    Case("spring.decrypt", 400, headers={"Content-Type": "text/plain"}, body=b"00"),
    Case("spring.encrypt_status", 200, url="/spring/encrypt/status"),
    Case("spring.key", 404, url="/spring/key"),
    Case("spring.monitor", 200, headers={"X-Hub-Signature-256": SIGNATURE}, body=BODY),
    Case("spring.monitor", 401, headers={"X-Hub-Signature-256": "sha256=00"}, body=BODY),
    Case("hooks.git", 202, headers={"X-Hub-Signature-256": SIGNATURE}, body=BODY),
    Case("hooks.git", 401, "unauthenticated", headers={"X-Hub-Signature-256": "sha256=00"}, body=BODY),
    Case("hooks.git", 413, "too-large", headers={"X-Hub-Signature-256": SIGNATURE}, body=bytes(2 << 20)),
    Case("health.live", 200),
    Case("health.ready", 200),
    Case("health.report", 200),
    Case("health.metrics", 200),
    Case("docs.openapi", 200),
    Case("docs.page", 200),
    Case("docs.asset", 200, url="/docs/page.css"),
    Case("docs.asset", 404, "not-found", "/docs/page.html"),
)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: f"{case.endpoint}-{case.status}-{case.url}")
def test_answer_is_as_described(api: Api, case: Case) -> None:
    method, path, operation = api.operation(case.endpoint)
    answer = api.client.request(method, case.url or path, headers=dict(case.headers), content=case.body)
    assert answer.status_code == case.status, answer.text
    described = operation["responses"][str(case.status)]
    missing = {name for name in described["headers"] if name not in answer.headers} - {"X-Config-Stale"}
    assert not missing
    if case.kind is not None:
        assert answer.json()["type"] == f"urn:config-server:{case.kind}"
        assert f"`urn:config-server:{case.kind}`" in described["description"]
    content = described.get("content", {})
    media = answer.headers.get("Content-Type", "").partition(";")[0]
    assert ("content" in described) == bool(answer.content)
    if content:
        schema = (content.get(media) or content["*/*"])["schema"]
        api.check(schema, answer.json() if media.endswith("json") else answer.text)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("config.read", "/v1/config/pay/prod"),
        ("config.file", "/v1/config/pay/prod/logback.xml"),
        ("history.revisions", "/v1/history/pay/prod"),
        ("history.diff", "/v1/diff/pay/prod?from=main"),
        ("stream.events", "/v1/events?topic=pay/prod"),
        ("admin.refresh", "/v1/admin/refresh"),
        ("health.metrics", "/metrics"),
    ],
)
def test_without_a_grant_the_answer_is_a_described_403(api: Api, endpoint: str, url: str) -> None:
    method, _, operation = api.operation(endpoint)
    stranger = f"Bearer {api.issuer.token('stranger', 'openid')}"
    answer = api.client.request(method, url, headers={"Authorization": stranger})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:config-server:forbidden")
    assert "`urn:config-server:forbidden`" in operation["responses"]["403"]["description"]


def test_event_stream_begins_as_described(api: Api) -> None:
    _, _, operation = api.operation("stream.events")
    with api.client.stream("GET", "/v1/events?topic=pay/prod") as answer:
        assert answer.status_code == 200
        media = answer.headers["Content-Type"].partition(";")[0]
        example = operation["responses"]["200"]["content"][media]["example"]
        lines = answer.iter_lines()
        names: list[str] = []
        while "sync" not in names:
            line = next(lines)
            names += [line.removeprefix("event: ")] if line.startswith("event: ") else []
    assert names == re.findall(r"^event: (.+)$", example, re.MULTILINE)


def test_websocket_is_upgraded_as_described(api: Api) -> None:
    _, _, operation = api.operation("stream.websocket")
    url = api.server.url.replace("http", "ws") + "/v1/stream"
    with connect(url, subprotocols=["cfg.v1"], additional_headers={"Authorization": api.bearer}) as connection:  # type: ignore[list-item]  # a NewType of str
        response = connection.response
        assert response is not None
        assert all(name in response.headers for name in operation["responses"]["101"]["headers"])


@pytest.mark.parametrize("header", SIGNATURES)
def test_each_documented_signature_opens_the_webhook(api: Api, header: str) -> None:
    now = int(time.time())
    standard = {"webhook-id": "word-1", "webhook-timestamp": str(now)} if header == "webhook-signature" else {}
    proof = SECRET if header.endswith("Token") else SIGNATURE
    proof = signature(SECRET.encode(), "word-1", now, BODY) if standard else proof
    assert api.client.post("/hooks/git", content=BODY, headers={header: proof, **standard}).status_code == 202
    wrong = {header: proof[:-1] + "?", **standard}
    assert api.client.post("/hooks/git", content=BODY, headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("parameter", "legal", "illegal"),
    [
        ("service", ("pay", "pay.v2", "a" * 128), ("-pay", ".pay", "a" * 129, "p ay", "päy")),
        ("env", ("prod", "a,b", "dev+1"), ("a,,b", ",a", "a,b,", "~")),
    ],
)
def test_pattern_of_a_name_is_what_the_server_checks(
    api: Api, parameter: str, legal: tuple[str, ...], illegal: tuple[str, ...]
) -> None:
    pattern = api.document["components"]["parameters"][parameter]["schema"]["pattern"]
    names = {"service": "pay", "env": "prod"}
    for text in (*legal, *illegal):
        given = {**names, parameter: text}
        status = api.client.get(f"/v1/config/{given['service']}/{given['env']}").status_code
        assert (status == 200, bool(re.search(pattern, text))) == ((text in legal), (text in legal)), text


def test_page_shows_every_operation_and_schema(api: Api) -> None:
    page = api.client.get("/docs").text
    for path, methods in api.document["paths"].items():
        assert f"<code>{path}</code>" in page
        assert all(operation["summary"] in page for operation in methods.values())
    for name in api.document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page


def test_page_keeps_to_its_policy(api: Api) -> None:
    answer = api.client.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert "//" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', answer.text))


def test_whatever_the_page_names_is_served(api: Api) -> None:
    page = api.client.get("/docs").text
    targets = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    files = {target for target in targets if not target.startswith("#")}
    assert len(files) == 4
    for file in files:
        answer = api.client.get(f"/{file}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert {target.removeprefix("#") for target in targets if target.startswith("#")} <= anchors


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/page.js"])
def test_document_and_page_are_not_sent_twice(api: Api, path: str) -> None:
    tag = api.client.get(path).headers["ETag"]
    assert api.client.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_only_the_files_of_the_page_are_assets(api: Api) -> None:
    folder = Path(__file__).parent.parent.parent / "app" / "blueprints" / "assets"
    served = {file.name for file in folder.iterdir() if api.client.get(f"/docs/{file.name}").status_code == 200}
    assert served == {"page.css", "page.js", "icon.svg"}
