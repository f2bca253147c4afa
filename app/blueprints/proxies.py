"""Whose request it is behind proxies that the operator trusts: X-Forwarded-For, believed from them and nobody else.

Nothing else of `X-Forwarded-*` and `Forwarded` is read at all: no answer depends on scheme, host or prefix.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Network: TypeAlias = IPv4Network | IPv6Network


class TrustedProxies:
    """WSGI: sets REMOTE_ADDR to the nearest address that is no trusted proxy, if the connection comes from one."""

    def __init__(self, application: WSGIApplication, trusted: Sequence[Network]) -> None:
        self._application = application
        self._trusted = tuple(trusted)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        named = environ.get("HTTP_X_FORWARDED_FOR", "")
        if named:
            environ["REMOTE_ADDR"] = client_of(environ.get("REMOTE_ADDR", ""), named, self._trusted)
        return self._application(environ, start_response)


def client_of(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Walk back from the socket's `peer` as long as who speaks is trusted; what is no address ends the walk."""
    client = peer
    for named in reversed(forwarded_for.split(",")):
        speaker = _address(client)
        if speaker is None or not any(speaker in network for network in trusted):
            break
        before = _address(named.strip())
        if before is None:
            break
        client = str(before)
    return client


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """With a port or without, as proxies write it: 192.0.2.7, 192.0.2.7:4711, 2001:db8::7, [2001:db8::7]:4711."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
