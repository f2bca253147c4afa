"""What an operator may set, and what is said of it when it makes no server."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import SettingsError
from app.settings import PREFIX, READERS, Settings

#: The least that makes a server.
LEAST = {
    "REPO_URL": "https://git.example/config.git",
    "JWT_ISSUER": "https://issuer.example",
    "JWT_AUDIENCE": "config-server",
    "JWT_JWKS_URL": "https://issuer.example/jwks.json",
}
BY_TOKEN = {
    "VAULT_ADDR": "http://vault:8200",
    "VAULT_AUTH_METHOD": "jwt",
    "VAULT_ROLE": "r",
    "VAULT_JWT_FILE": "/run/token",
}
BY_SECRET = {"VAULT_ADDR": "http://vault:8200", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}


def made(environ: dict[str, str] | None = None, **given: Any) -> Settings:
    return Settings.from_env({PREFIX + name: text for name, text in (LEAST | (environ or {})).items()}, **given)


def problems(environ: dict[str, str], **given: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        made(environ, **given)
    return refused.value.problems


def test_the_least_makes_a_server_with_every_default() -> None:
    settings = made()
    plain = Settings(
        repo_url=LEAST["REPO_URL"],
        jwt_issuer=LEAST["JWT_ISSUER"],
        jwt_audience=("config-server",),
        jwt_jwks_url=LEAST["JWT_JWKS_URL"],
    )
    assert settings == plain
    assert settings.workers == 1
    assert settings.audit_path == Path("/var/lib/config-server/audit")


def test_every_setting_has_a_reader_and_every_reader_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} - {"timings"} == set(READERS)


def test_nothing_set_is_one_message_that_lists_all_that_is_required() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({})
    assert refused.value.problems == (
        "CONFIG_SERVER_REPO_URL is required",
        "CONFIG_SERVER_JWT_ISSUER is required",
        "CONFIG_SERVER_JWT_AUDIENCE is required",
        "set exactly one of CONFIG_SERVER_JWT_JWKS_URL, CONFIG_SERVER_JWT_PUBLIC_KEY_FILE, "
        "CONFIG_SERVER_JWT_DISCOVERY=true",
    )
    assert all(problem in str(refused.value) for problem in refused.value.problems)


def test_missing_wrong_unknown_and_contradicting_settings_are_listed_at_once() -> None:
    told = problems(
        {
            "REPO_URL": " ",
            "POLL_SECONDS": "soon",
            "ACCEPT_EMPTY": "perhaps",
            "POL_SECONDS": "5",
            "REDIS_URL": "redis://redis",
            "JWT_DISCOVERY": "true",
        }
    )
    assert [problem.partition(":")[0].partition(" ")[0] for problem in told] == [
        "CONFIG_SERVER_REPO_URL",
        "CONFIG_SERVER_POLL_SECONDS",
        "CONFIG_SERVER_ACCEPT_EMPTY",
        "CONFIG_SERVER_POL_SECONDS",
        "set",
        "CONFIG_SERVER_KEY_FILE",
    ]


def test_a_file_of_issuers_stands_in_place_of_one_issuer(tmp_path: Path) -> None:
    (tmp_path / "issuers.toml").write_text("")
    file = {PREFIX + "REPO_URL": "x", PREFIX + "ISSUERS_FILE": str(tmp_path / "issuers.toml")}
    assert Settings.from_env(file).jwt_issuer is None
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(file | {PREFIX + "JWT_ISSUER": "https://a.example", PREFIX + "JWT_DISCOVERY": "true"})
    assert len(refused.value.problems) == 2
    assert all("belongs into CONFIG_SERVER_ISSUERS_FILE" in problem for problem in refused.value.problems)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "proxy.example.org", "10.0.0.1/8"])
def test_a_trusted_proxy_is_a_network_and_not_everybody(text: str) -> None:
    assert problems({"TRUSTED_PROXIES": text})


def test_a_setting_that_cannot_be_read_is_told_once_and_not_as_a_contradiction_too() -> None:
    assert len(problems({"JWT_JWKS_URL": "nonsense"})) == 1
    assert len(problems({"REDIS_URL": "nonsense", "WORKERS": "4"})) == 1
    assert len(problems({"REDIS_URL": "redis://redis", "KEY_FILE": "/no/such/file"})) == 1


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DEFAULT_LABEL", "release/2.1", "release/2.1"),
        ("ENVS", "prod, dev,", ("prod", "dev")),
        ("SEARCH_PATHS", ".,services/{service}", ("", "services/{service}")),
        ("SEARCH_PATHS", "/", ("",)),
        ("SEARCH_PATHS", ",", ("",)),
        ("DATA_DIR", "/srv/data", Path("/srv/data")),
        ("POLL_SECONDS", "0.5", 0.5),
        ("PIN_DAYS", "0", 0.0),
        ("ACCEPT_EMPTY", "false", False),
        ("ACCEPT_EMPTY", "0", False),
        ("ACCEPT_EMPTY", " on ", True),
        ("NAMESPACE", "blue", "blue"),
        ("SECRET_LABELS", "main, release/2.1", ("main", "release/2.1")),
        ("VAULT_MOUNTS", "kv=secret:2, old=a/b-c:1", {"kv": ("secret", 2), "old": ("a/b-c", 1)}),
        ("VAULT_AUTH_METHOD", "Kubernetes", "kubernetes"),
        ("VAULT_AUTH_MOUNT", "team/approle", "team/approle"),
        ("GIT_WRITE", "true", True),
        ("JWT_AUDIENCE", "a, b", ("a", "b")),
        ("JWT_ALGORITHMS", "ES256,EdDSA", ("ES256", "EdDSA")),
        ("STREAMS_PER_WORKER", "7", 7),
        ("ALLOWED_ORIGINS", "https://a.example,https://b.example", ("https://a.example", "https://b.example")),
        ("METRICS", "9100", "9100"),
        ("BIND", "[::1]:8000", "[::1]:8000"),
        ("BIND", ":0", ":0"),
        ("LOG_LEVEL", "DEBUG", "debug"),
        ("JWT_JWKS_URL", "http://localhost:8080/jwks/", "http://localhost:8080/jwks"),
    ],
)
def test_a_setting_is_read_as_what_it_is(name: str, text: str, value: object) -> None:
    assert getattr(made({name: text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DEFAULT_LABEL", "--output=x"),
        ("DEFAULT_LABEL", "a..b"),
        ("DEFAULT_LABEL", "ma\u202ein"),
        ("SECRET_LABELS", "main, --all"),
        ("ENVS", "prod,a/b"),
        ("POLL_SECONDS", "-1"),
        ("POLL_SECONDS", "nan"),
        ("POLL_SECONDS", "inf"),
        ("PIN_DAYS", "-5"),
        ("JWT_LEEWAY_SECONDS", "-0.1"),
        ("SECRET_GRACE_SECONDS", "-1"),
        ("NAMESPACE", "a}b"),
        ("KEY_FILE", "/no/such/file"),
        ("KEY_FILE", "/tmp"),
        ("RBAC_FILE", "/no/such/file"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "http://redis"),
        ("SEARCH_PATHS", "../x"),
        ("SEARCH_PATHS", "a,{secret}"),
        ("BIND", "nonsense"),
        ("BIND", "127.0.0.1:http"),
        ("BIND", "127.0.0.1:70000"),
        ("WORKERS", "0"),
        ("WORKERS", "2.5"),
        ("WORKERS", "-3"),
        ("WORKERS", "many"),
        ("STREAMS_PER_WORKER", "0"),
        ("VAULT_ADDR", "vault:8200"),
        ("VAULT_AUTH_METHOD", "userpass"),
        ("VAULT_AUTH_MOUNT", "../sys"),
        ("VAULT_SERVICE_TOKEN_ROLE", "a//b"),
        ("VAULT_MOUNTS", "kv=secret"),
        ("VAULT_MOUNTS", "KV=secret:2"),
        ("VAULT_MOUNTS", "kv=../sys:2"),
        ("VAULT_MOUNTS", "kv=secret:3"),
        ("JWT_AUDIENCE", ","),
        ("JWT_JWKS_URL", "file:///etc/passwd"),
        ("JWT_ALGORITHMS", "HS256"),
        ("JWT_ALGORITHMS", "RS256,none"),
        ("JWT_ALGORITHMS", ","),
        ("JWT_PERMISSION_CLAIMS", ","),
        ("METRICS", "70000"),
        ("METRICS", "yes"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_refused_naming_the_setting(name: str, text: str) -> None:
    (problem,) = problems({name: text})
    assert problem.startswith(f"CONFIG_SERVER_{name}: ")
    assert len(problem) > len(f"CONFIG_SERVER_{name}: ")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"JWT_DISCOVERY": "true"}, ["JWT_JWKS_URL", "JWT_PUBLIC_KEY_FILE", "JWT_DISCOVERY"]),
        ({"JWT_JWKS_URL": ""}, ["JWT_JWKS_URL", "JWT_PUBLIC_KEY_FILE", "JWT_DISCOVERY"]),
        ({"REDIS_URL": "redis://redis"}, ["KEY_FILE", "REDIS_URL"]),
        ({"WORKERS": "4"}, ["WORKERS", "REDIS_URL"]),
        ({"VAULT_ADDR": "http://vault:8200", "VAULT_SECRET_ID": "s"}, ["VAULT_ROLE_ID", "VAULT_ADDR"]),
        ({"VAULT_ADDR": "http://vault:8200", "VAULT_ROLE_ID": "r"}, ["VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"]),
        (
            {
                "VAULT_ADDR": "http://vault:8200",
                "VAULT_ROLE_ID": "r",
                "VAULT_SECRET_ID": "s",
                "VAULT_SECRET_ID_FILE": "/f",
            },
            ["VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"],
        ),
        (
            {**BY_SECRET, "VAULT_SERVICE_TOKEN_ROLE": "r", "SECRET_SOURCES": "kv/application"},
            ["SECRET_SOURCES", "VAULT_SERVICE_TOKEN_ROLE"],
        ),
        ({**BY_TOKEN, "VAULT_ROLE": ""}, ["VAULT_ROLE", "VAULT_AUTH_METHOD"]),
        ({**BY_TOKEN, "VAULT_JWT_FILE": ""}, ["VAULT_JWT_FILE", "VAULT_AUTH_METHOD"]),
        ({**BY_TOKEN, "VAULT_SECRET_ID": "s"}, ["VAULT_SECRET_ID", "VAULT_AUTH_METHOD"]),
        ({**BY_TOKEN, "VAULT_SECRET_ID_WRAPPED": "true"}, ["VAULT_SECRET_ID_WRAPPED", "VAULT_AUTH_METHOD"]),
        ({**BY_SECRET, "VAULT_ROLE": "r"}, ["VAULT_ROLE", "VAULT_AUTH_METHOD"]),
        ({"ENCRYPT_KEYS": "{service}"}, ["ENCRYPT_KEYS", "ENCRYPT_KEY_FILE"]),
        ({"ENCRYPT_KEYS": "{service}", "ENCRYPT_KEY_FILE": __file__}, ["ENCRYPT_KEYS", "ENCRYPT_KEY_FILE"]),
        ({"POLL_SECONDS": "0"}, ["POLL_SECONDS"]),
        ({"GIT_TIMEOUT_SECONDS": "0"}, ["GIT_TIMEOUT_SECONDS"]),
        ({"SECRET_WATCH_SECONDS": "0"}, ["SECRET_WATCH_SECONDS"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_naming_both(environ: dict[str, str], named: list[str]) -> None:
    (problem,) = problems(environ)
    assert all(PREFIX + name in problem for name in named)


@pytest.mark.parametrize("change", [{}, {"VAULT_AUTH_METHOD": "kubernetes", "VAULT_JWT_FILE": ""}])
def test_a_login_by_a_signed_token_needs_no_secret_id(change: dict[str, str]) -> None:
    settings = made({**BY_TOKEN, **change})
    assert (settings.vault_role, settings.vault_role_id) == ("r", None)


def test_a_wrapped_secret_id_is_for_one_worker_and_two_webhook_secrets_are_one_too_many(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x" * 32)
    environ = {
        "REDIS_URL": "redis://redis",
        "KEY_FILE": str(file),
        "WORKERS": "2",
        "VAULT_SECRET_ID_WRAPPED": "true",
        "WEBHOOK_SECRET": "w",
        "WEBHOOK_SECRET_FILE": str(file),
    }
    told = problems(environ)
    for name, problem in zip(("WORKERS=1", "WEBHOOK"), told, strict=True):
        assert PREFIX + name in problem


def test_a_misspelt_setting_is_no_silent_default_and_other_variables_are_let_be() -> None:
    assert problems({"POL_SECONDS": "5", "poll_seconds": "5"}) == (
        "CONFIG_SERVER_POL_SECONDS is not a setting",
        "CONFIG_SERVER_poll_seconds is not a setting",
    )
    environ = {PREFIX + name: text for name, text in LEAST.items()}
    assert Settings.from_env({**environ, "PATH": "/bin", "CONFIG_SERVERS": "3", "CONFIG_SERVER_WORKER_SLOT": "1"})


def test_what_is_given_wins_over_the_environment_and_is_not_asked_of_it() -> None:
    settings = made({"POLL_SECONDS": "soon", "REPO_URL": ""}, poll_seconds=1.5, repo_url="/srv/config.git")
    assert (settings.poll_seconds, settings.repo_url) == (1.5, "/srv/config.git")


def test_what_is_given_is_checked_with_the_rest() -> None:
    (problem,) = problems({}, workers=3)
    assert "CONFIG_SERVER_WORKERS=3" in problem
    with pytest.raises(TypeError):
        made(pol_seconds=5)


def test_with_redis_there_is_a_worker_for_each_core(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    shared = {"REDIS_URL": "redis://redis", "KEY_FILE": str(tmp_path / "key")}
    assert made(shared).workers == (os.cpu_count() or 1)
    assert made({**shared, "WORKERS": "3"}).workers == 3
    assert made().workers == 1


def test_settings_do_not_show_their_secrets() -> None:
    settings = made(
        {
            "VAULT_ADDR": "http://vault:8200",
            "VAULT_ROLE_ID": "r",
            "VAULT_SECRET_ID": "hidden-one",
            "WEBHOOK_SECRET": "hidden-two",
        }
    )
    assert "hidden" not in repr(settings)


def test_a_problem_does_not_quote_a_secret() -> None:
    environ = {
        "VAULT_SECRET_ID": "hidden",
        "WEBHOOK_SECRET": "hidden",
        "REDIS_URL": "http://:hidden@redis",
        "WORKERS": "x",
    }
    assert "hidden" not in "\n".join(problems(environ))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().workers = 5  # type: ignore[misc]  # that it cannot be done is the point


def test_nobody_may_write_unless_there_are_credentials_to_write(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    assert not made({"GIT_USERNAME": "u", "GIT_PASSWORD_FILE": str(file)}).may_write
    for name, text in (
        ("GIT_WRITE", "true"),
        ("GIT_WRITE_PASSWORD_FILE", str(file)),
        ("GIT_WRITE_SSH_KEY_FILE", str(file)),
    ):
        assert made({name: text}).may_write


def test_credentials_to_write_are_one_kind_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    assert "GIT_WRITE=true lets" in problems({"GIT_WRITE": "true", "GIT_WRITE_SSH_KEY_FILE": str(file)})[0]
    assert "GIT_WRITE_USERNAME needs" in problems({"GIT_WRITE_USERNAME": "robot"})[0]


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("/", ""), ("/spring", "/spring"), ("/a/b/", "/a/b"), ("/config-server.v1", "/config-server.v1")],
)
def test_prefix_of_springs_paths_has_a_normal_form(text: str, prefix: str) -> None:
    assert made({"SPRING_PREFIX": text}).spring_prefix == prefix


VAULT = {"VAULT_ADDR": "http://vault", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}


def test_sources_of_secrets_are_separated_by_blanks() -> None:
    settings = made({**VAULT, "SECRET_SOURCES": " kv/{service},{env}  files kv/application "})
    assert settings.secret_sources == ("kv/{service},{env}", "files", "kv/application")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ENVS": "dev,x-default"}, "ENVS: x-default ends like another env"),
        ({"SPRING_PREFIX": "spring"}, "SPRING_PREFIX: is not a path"),
        ({"SPRING_PREFIX": "/../x"}, "SPRING_PREFIX: is not a path"),
        ({"SPRING_PREFIX": "/<x>"}, "SPRING_PREFIX: is not a path"),
        ({"TOKEN_HEADERS": "X-Auth,Authorization"}, "TOKEN_HEADERS: 'Authorization' is not"),
        ({"TOKEN_HEADERS": "X Auth"}, "TOKEN_HEADERS: 'X Auth' is not"),
        ({"DECRYPT_ENDPOINT": "true"}, "DECRYPT_ENDPOINT=true needs CONFIG_SERVER_ENCRYPT_KEY_FILE"),
        ({"ENCRYPT_KEY_FILE": "/nowhere"}, "ENCRYPT_KEY_FILE: no such file"),
        ({"SECRET_SOURCES": "kv/a"}, "SECRET_SOURCES needs CONFIG_SERVER_VAULT_ADDR"),
        ({**VAULT, "SECRET_SOURCES": "other/a"}, "SECRET_SOURCES: 'other' is none of CONFIG_SERVER_VAULT_MOUNTS"),
        ({**VAULT, "SECRET_SOURCES": "kv/{service}-{env}"}, "SECRET_SOURCES: 'kv/{service}-{env}' is not alias/path"),
    ],
)
def test_what_makes_no_server_for_spring_clients_is_told(environ: dict[str, str], told: str) -> None:
    assert [problem for problem in problems(environ) if told in problem]
