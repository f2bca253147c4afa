"""The pure parts: what Git prints, what it complains about, and the environment it gets."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from app.repository import parse, protocol_of
from app.repository.environment import GitCredentials, network_environment
from app.repository.failure import looks_damaged, reason_of

ID = "12345678" * 5


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("/srv/config.git", "file"),
        ("./config", "file"),
        ("config", "file"),
        ("./odd:name", "file"),
        ("file:///srv/config.git", "file"),
        ("https://git.example.org/config.git", "https"),
        ("HTTPS://git.example.org/config.git", "https"),
        ("http://ada@git.example.org:8080/config", "http"),
        ("ssh://git@git.example.org:2222/config", "ssh"),
        ("git@git.example.org:config.git", "ssh"),
        ("git://git.example.org/config", "git"),
    ],
)
def test_protocol_of_a_url(url: str, protocol: str) -> None:
    assert protocol_of(url) == protocol


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-oProxyCommand=x",
        "--upload-pack=x",
        "ext::sh -c x",
        "fd::7",
        "ftp://host/x",
        "foo://host/x",
        "https://ada:s3cret@host/x",
        "ssh://ada:s3cret@host/x",
        "https://host/x\n",
        "https://[::1/x",
    ],
)
def test_urls_that_could_run_or_tell_something_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        protocol_of(url)
    assert "s3cret" not in str(caught.value)


def test_only_the_urls_own_protocol_is_allowed() -> None:
    for url, protocol in {"/x": "file", "https://h/x": "https", "h:x": "ssh", "git://h/x": "git"}.items():
        environment = network_environment(Path("/m/clone"), url, GitCredentials(), 10)
        assert environment["GIT_ALLOW_PROTOCOL"] == protocol


def test_ssh_takes_key_and_hosts_from_the_settings_and_asks_nobody() -> None:
    credentials = GitCredentials(ssh_key_file=Path("/run/a key"), known_hosts_file=Path("/run/known hosts"))
    command = shlex.split(network_environment(Path("/m/clone"), "h:x", credentials, 7.5)["GIT_SSH_COMMAND"])
    assert command[:3] == ["ssh", "-oBatchMode=yes", "-oConnectTimeout=7"]
    assert '-oUserKnownHostsFile="/run/known hosts"' in command
    assert command[-2:] == ["-i", "/run/a key"]


def test_secrets_of_the_server_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SERVER_VAULT_SECRET_ID", "s3cret")
    monkeypatch.setenv("GIT_TRACE_CURL", "1")
    environment = network_environment(Path("/m/clone"), "https://h/x", GitCredentials(), 10)
    assert "s3cret" not in environment.values()
    assert "GIT_TRACE_CURL" not in environment


@pytest.mark.parametrize(
    ("errors", "reason", "damaged"),
    [
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "is unknown", False),
        ("ssh: connect to host h port 22: Connection refused", "refuses the connection", False),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "login", False),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "host key", False),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "asks for a login", False),
        ("fatal: Authentication failed for 'https://h/'", "refuses the login", False),
        ("SSL certificate problem: self-signed certificate", "certificate", False),
        ("fatal: '/x' does not appear to be a git repository", "no such repository", False),
        ("remote: fatal: bad object HEAD\nfatal: early EOF", "broke off", False),
        ("fatal: write error: No space left on device\nfatal: packed object is corrupt", "disk", False),
        ("fatal: transport 'file' not allowed", "another protocol", False),
        (f"error: Could not read {ID}", "status 128", True),
        (f"fatal: loose object {ID} (stored in /m/x) is corrupt", "status 128", True),
        ("fatal: not a git repository: '/m/clone'", "status 128", True),
        ("error: inflate: data stream error (incorrect header check)", "status 128", True),
        ("fatal: bad config line 1 in file /m/config", "status 128", True),
        ("something new", "status 128", False),
    ],
)
def test_complaint_of_git_becomes_a_safe_reason(errors: str, reason: str, damaged: bool) -> None:
    assert reason in reason_of(errors, 128)
    assert looks_damaged(errors) is damaged


def commit_object(
    *, author: bytes = b"A <a@b> 1 +0000", committer: bytes = b"C <c@d> 0 +0000", extra: bytes = b""
) -> bytes:
    return (
        b"tree "
        + ID.encode()
        + b"\nauthor "
        + author
        + b"\ncommitter "
        + committer
        + b"\n"
        + extra
        + b"\nHello\n\nthere\n"
    )


@pytest.mark.parametrize(
    ("content", "author", "time"),
    [
        (commit_object(), "A <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(committer=b"C <c@d> 1700000000 +0530"), "A <a@b>", "2023-11-14T22:13:20Z"),
        (commit_object(committer=b"C <c@d> 99999999999999999999 +0000"), "A <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(committer=b"nonsense"), "A <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(author=b"X <y> <a@b> 1 +0000"), "X <y> <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(extra=b"encoding nonsense\n"), "A <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(extra=b"encoding undefined\n"), "A <a@b>", "1970-01-01T00:00:00Z"),
        (commit_object(extra=b"gpgsig -----BEGIN\n author nobody\n more\n"), "A <a@b>", "1970-01-01T00:00:00Z"),
    ],
)
def test_any_commit_object_is_read(content: bytes, author: str, time: str) -> None:
    commit = parse.commit(ID, content)
    assert (commit.author, commit.time, commit.message) == (author, time, "Hello\n\nthere")


def test_remote_refs_keep_heads_and_tags_only() -> None:
    output = (
        f"ref: refs/heads/main\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/main\n{ID}\trefs/tags/v1\n{ID}\trefs/tags/v1^{{}}\n"
        f"{ID}\trefs/pull/1/head\nref: refs/heads/x\trefs/remotes/origin/HEAD\n"
    )
    refs = parse.remote_refs(output.encode())
    assert (dict(refs.ids), refs.default) == ({"refs/heads/main": ID, "refs/tags/v1": ID}, "main")
