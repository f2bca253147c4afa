"""Paths that must lead nowhere, asked for as they are written: no client library makes them harmless first."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

HOSTILE = [
    "/../etc/passwd",
    "/foo/../../etc/passwd",
    "/%2e%2e/dev",
    "/%252e%252e/dev",
    "/..%2f..%2fetc%2fpasswd/dev",
    "/%2e%2e%2f%2e%2e%2fetc/dev",
    "/foo%00/dev",
    "/foo/%2e%2e",
    "/foo/dev%2f..%2f..",
    "/foo/dev%00",
    "/foo/dev/%2e%2e",
    "/foo/dev/%252e%252e",
    "/foo/dev/main%00",
    "/foo/dev/--output=x",
    "/foo/dev/--upload-pack=touch%20x",
    "/foo/dev/@%7bupstream%7d",
    "/foo/dev/:%2fx",
    "/foo/dev/a..b",
    "/foo/dev/main%5E%7B%2F.%7D",
    "/foo/dev/" + "a" * 5000,
    "/foo/dev/main/../../../etc/passwd",
    "/foo/dev/main/%2e%2e/%2e%2e/etc/passwd",
    "/foo/dev/main/%252e%252e/etc/passwd",
    "/foo/dev/main/..%2f..%2fetc/passwd",
    "/foo/dev/main/.git/config",
    "/foo/dev/main/%2egit/config",
    "/foo/dev/main/.config-server/targets.toml",
    "/foo/dev/main//nginx.conf",
    "/foo/dev/main/nginx.conf%00",
    "/foo/dev/.git(_)config",
    "/.git(_)config/dev",
    "/(_)(_)etc/dev",
    "/a(_)..(_)b/dev/main/x",
    "/foo%23/dev",
    "/foo/dev/main%23x",
    "/foo/dev/main%23/nginx.conf",
    "/foo-..%2fx.yml",
    "/..-dev.properties",
    "/%2e%2e(_)foo-dev.json",
    "/main%2f..%2f/foo-dev.json",
    "/%E2%80%AE/dev",
    "/foo%0d%0aX-Evil:%201/dev",
    "/" + ",".join("abcdefghijklmnopq") + "/dev",
    "/a,b,c,d,e/v,w,x,y",
    "/foo/dev/" + ",".join("abcdefghijklmnopq"),
]


def assert_leads_nowhere(url: str, path: str, token: str, folder: str) -> None:
    """400 or 404 for who may read everything, and nothing of the server's own `folder` in it."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.putrequest("GET", f"/spring{path}", skip_accept_encoding=True)
    connection.putheader("Authorization", f"Bearer {token}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status in {400, 404}, (path, body)
    assert answer.getheader("X-Evil") is None
    assert "root:" not in body
    assert folder not in body
