"""A server for clients of Spring Cloud Config, with a repository of the shapes that theirs have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving

KEY = "foo"
FILES: dict[str, str | bytes | None] = {
    "application.yml": "info: {description: shared}\nfoo: from application\n",
    "application-dev.yml": "level: debug\n",
    "foo.properties": "foo=from foo props\ndemo.list[0]=a\ndemo.list[1]=b\n",
    "foo-dev.yml": "bar: spam\nfoo: from foo development\nserver: {port: 8081}\n",
    "bar.properties": "foo=bar\n",
    "multi.yml": (
        "name: base\nnested: {a: 1, b: [x, y]}\n---\nspring.config.activate.on-profile: cloud\nname: in the cloud\n"
        "---\nspring:\n  config:\n    activate:\n      on-profile: dev\nname: in development\n"
    ),
    "multi-cloud.properties": "extra=${name}\n",
    "team/foo.yml": "team: yes\n",
    "encrypted.yml": "password: '{cipher}682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda'\n",
    "nginx.conf": "listen ${server.port:80}; # ${foo}\n",
    "key.bin": b"\x00\xff${foo}",
}


@pytest.fixture(scope="package")
def boot(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    """Under /spring; `stable` is a branch with other values, `release/1` one with a slash in its name."""
    directory = tmp_path_factory.mktemp("boot")
    key = directory / "key"
    key.write_text(f"{KEY}\n")
    settings: dict[str, Any] = {
        "token_headers": ("X-Auth-Token",),
        "webhook_secret": "hook-secret",
        "encrypt_key_file": key,
        "decrypt_endpoint": True,
    }
    with serving(directory, issuer, FILES, **settings) as running:
        for branch, text in (("stable", "foo: stable\nonly: stable\n"), ("release/1", "foo: released\n")):
            running.origin.branch(branch)
            running.origin.write({"foo-dev.yml": text}, branch)
            running.origin.branch("main")
        running.refresh()
        yield running
