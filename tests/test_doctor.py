"""`python -m app doctor`, over real parts: all well, and each of them broken in turn."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.doctor import doctor
from app.doctor.remote import skew_of
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.valkey import Valkey
from tests.proxy.certificate import write_certificate

#: In every place where a setting holds a secret, so that none of it may be in what is said.
CANARY = "canary-4711"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with closing(Valkey(tmp_path_factory.mktemp("valkey")).start()) as server:
        yield server


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, bao: Bao, valkey: Valkey) -> dict[str, str]:
    """Settings with which nothing is wrong."""
    directory = tmp_path_factory.mktemp("doctor")
    origin = OriginRepo(directory / "origin")
    origin.write({"application.yml": "a: 1\n"})
    for name in ("key", "password", "webhook"):
        (directory / name).write_text(f"{CANARY}-{name}-0123456789abcdef")
    settings = {
        "REPO_URL": origin.url,
        "ENVS": "dev,prod",
        "DATA_DIR": str(directory / "data"),
        "GIT_PASSWORD_FILE": str(directory / "password"),
        "WEBHOOK_SECRET_FILE": str(directory / "webhook"),
        "KEY_FILE": str(directory / "key"),
        "REDIS_URL": valkey.url,
        "VAULT_ADDR": bao.address,
        "VAULT_ROLE_ID": bao.role_id,
        "VAULT_SECRET_ID": bao.secret_id(),
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url,
        "STREAMS_PER_WORKER": "100",
    }
    return {f"CONFIG_SERVER_{name}": value for name, value in settings.items()}


def told(settings: dict[str, str], **changed: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings of each part."""
    env = {**settings, **{f"CONFIG_SERVER_{name}": value for name, value in changed.items()}}
    done = CliRunner().invoke(doctor, ["--json"], env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    secrets = {CANARY, settings["CONFIG_SERVER_VAULT_SECRET_ID"], changed.get("VAULT_SECRET_ID", CANARY)}
    assert not [secret for secret in secrets if secret in done.output]
    parts: dict[str, list[dict[str, str]]] = {}
    for line in done.output.splitlines():
        finding = json.loads(line)
        parts.setdefault(finding["part"], []).append(finding)
    return done.exit_code, parts


def failing(settings: dict[str, str], **changed: str) -> dict[str, str]:
    """The one finding that is wrong; every other must be right, and this one must have a remedy."""
    code, parts = told(settings, **changed)
    (wrong,) = [each for found in parts.values() for each in found if each["level"] == "failed"]
    assert (code, bool(wrong["remedy"])) == (1, True)
    return wrong


def test_nothing_is_wrong_where_all_is_well(well: dict[str, str]) -> None:
    code, parts = told(well)
    assert code == 0
    assert {each["level"] for found in parts.values() for each in found} == {"ok"}
    assert set(parts) == {"settings", "programs", "disk", "files", "git", "vault", "redis", "keys", "clock"}
    assert not Path(well["CONFIG_SERVER_DATA_DIR"]).exists()  # it was looked for, not made


def test_what_people_read_has_the_remedy_under_its_finding(well: dict[str, str]) -> None:
    done = CliRunner().invoke(doctor, env={**well, "CONFIG_SERVER_ENVS": ""})
    assert done.exit_code == 0
    at = next(number for number, line in enumerate(done.output.splitlines()) if line.startswith("warning  settings"))
    assert "-> List the envs" in done.output.splitlines()[at + 1]


def test_wrong_settings_are_told_all_at_once(well: dict[str, str]) -> None:
    code, parts = told(well, WORKERS="many", BIND="nowhere")
    assert (code, list(parts)) == (1, ["settings"])
    assert len(parts["settings"]) == 2


def test_a_repository_that_is_not_there(well: dict[str, str], tmp_path: Path) -> None:
    found = failing(well, REPO_URL=str(tmp_path / "none"))
    assert (found["part"], found["text"]) == ("git", "there is no such repository")


def test_a_repository_without_a_commit(well: dict[str, str], tmp_path: Path) -> None:
    found = failing(well, REPO_URL=OriginRepo(tmp_path / "new").url)
    assert (found["part"], "names no branch" in found["text"]) == ("git", True)


def test_a_default_label_that_nobody_pushed(well: dict[str, str]) -> None:
    code, parts = told(well, DEFAULT_LABEL="trunk")
    assert (code, parts["git"][0]["level"]) == (0, "warning")


def test_a_further_repository_that_is_not_there_or_lacks_its_label(well: dict[str, str], tmp_path: Path) -> None:
    origin = OriginRepo(tmp_path / "origin", default="trunk")
    origin.write({"a.yml": "a: 1\n"})
    file = tmp_path / "repositories.toml"

    def described(url: str, label: str) -> str:
        file.write_text(f'[[repository]]\nname = "pay"\nurl = "{url}"\nlabel = "{label}"\n')
        return str(file)

    found = failing(well, REPOSITORIES_FILE=described(str(tmp_path / "none"), "main"))
    assert (found["part"], found["text"]) == ("git", "pay: there is no such repository")
    found = failing(well, REPOSITORIES_FILE=described(origin.url, "main"))
    assert (found["part"], found["text"]) == ("git", "pay: there is no branch main")
    code, parts = told(well, REPOSITORIES_FILE=described(origin.url, "trunk"))
    assert (code, [each["level"] for each in parts["git"]]) == (0, ["ok", "ok"])


def test_a_vault_that_refuses_the_login(well: dict[str, str]) -> None:
    found = failing(well, VAULT_SECRET_ID=f"{CANARY}-wrong")
    assert (found["part"], "refuses our" in found["text"]) == ("vault", True)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Where connections are refused: the port is taken, so that it is no other's meanwhile, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_vault_that_is_away(well: dict[str, str], nobody: str) -> None:
    found = failing(well, VAULT_ADDR=f"http://{nobody}")
    assert (found["part"], "cannot be reached" in found["text"]) == ("vault", True)


def test_a_redis_that_is_away(well: dict[str, str], nobody: str) -> None:
    found = failing(well, REDIS_URL=f"redis://:{CANARY}@{nobody}/0")
    assert (found["part"], "does not answer" in found["text"]) == ("redis", True)


def test_a_redis_that_throws_keys_away_and_one_that_takes_none(well: dict[str, str], valkey: Valkey) -> None:
    with valkey.client as client:
        try:
            client.config_set("maxmemory-policy", "allkeys-lru")
            evicting = failing(well)
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1")
            full = failing(well)
        finally:  # the others share it
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")
    assert (evicting["part"], "throw keys away" in evicting["text"]) == ("redis", True)
    assert (full["part"], "refuses" in full["text"]) == ("redis", True)


def test_an_issuer_that_is_away(well: dict[str, str], nobody: str) -> None:
    found = failing(well, JWT_JWKS_URL=f"http://{nobody}/jwks.json")
    assert (found["part"], "cannot be reached" in found["text"]) == ("keys", True)


def test_a_directory_that_cannot_be_made(well: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, parts = told(well, DATA_DIR=str(tmp_path / "file" / "data"))
    assert (code, {each["level"] for each in parts["disk"]}) == (1, {"failed"})


def test_more_streams_than_files_may_be_opened(well: dict[str, str]) -> None:
    code, parts = told(well, STREAMS_PER_WORKER="900000000")
    assert (code, parts["files"][0]["level"]) == (0, "warning")


def test_a_wrapping_token_is_left_for_the_server(well: dict[str, str], bao: Bao) -> None:
    token = bao.wrapped_secret_id()
    for _ in range(2):
        _, parts = told(well, VAULT_SECRET_ID=token, VAULT_SECRET_ID_WRAPPED="true", WORKERS="1")
        assert parts["vault"][0]["level"] == "warning"
    lookup = bao.root.adapter.post("/v1/sys/wrapping/lookup", json={"token": token})
    assert lookup["data"]["creation_path"].endswith("secret-id")


@contextmanager
def a_clock(date: str, tls: Path | None = None) -> Iterator[str]:
    """An HTTP server that believes it is `date`; with a certificate of its own in `tls`, which it makes."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(405)
            self.send_header("Date", date)
            self.end_headers()

        do_POST = do_HEAD  # noqa: N815 - http.server calls it

        def log_message(self, format: str, *args: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            write_certificate(tls, tls.with_suffix(".key"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls, tls.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who does not trust it goes away
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_clock_that_is_wrong(well: dict[str, str]) -> None:
    with a_clock("Sat, 01 Jan 2000 00:00:00 GMT") as url:
        _, parts = told(well, VAULT_ADDR=url)
    (wrong,) = [each for each in parts["clock"] if each["level"] == "failed"]
    assert "ahead of Vault" in wrong["text"]


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_who_tells_no_time_says_nothing_about_ours(date: str) -> None:
    with a_clock(date) as url:
        assert skew_of(url) is None


def test_the_clock_of_each_issuer_is_looked_at_by_the_certificates_that_it_has(
    well: dict[str, str], tmp_path: Path
) -> None:
    issuer = '[[issuer]]\nissuer = "{}"\naudience = ["a"]\njwks_url = "{}"\nca_file = "{}"\n'
    file, ca_file = tmp_path / "issuers.toml", tmp_path / "ca.pem"
    with a_clock("Sat, 01 Jan 2000 00:00:00 GMT", ca_file) as url:
        assert skew_of(url) is None
        file.write_text("".join(issuer.format(name, url, ca_file) for name in ("https://one", "https://two")))
        others = {name: text for name, text in well.items() if not name.startswith("CONFIG_SERVER_JWT_")}
        _, parts = told(others, ISSUERS_FILE=str(file))
    wrong = [each["text"].partition(" ahead of ")[2] for each in parts["clock"] if each["level"] == "failed"]
    assert wrong == ["the issuer https://one", "the issuer https://two"]
