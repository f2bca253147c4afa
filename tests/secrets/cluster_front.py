"""Answers what OpenBao's `kubernetes` method asks a cluster, TokenReview, for the tokens of one issuer."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt

from devstack.issuer import LocalIssuer
from tests.proxy.certificate import write_certificate


def _review(issuer: LocalIssuer, token: str) -> dict[str, object]:
    """The status of a TokenReview: who it is, if the signature is the issuer's and the token has not ended."""
    try:
        claims = jwt.decode(token, issuer.key().pem, algorithms=["RS256"], audience=issuer.audience)
    except jwt.InvalidTokenError as error:
        return {"authenticated": False, "error": str(error)}
    account = claims["kubernetes.io"]
    name = f"system:serviceaccount:{account['namespace']}:{account['serviceaccount']['name']}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{account['namespace']}", "system:authenticated"]
    user = {"username": name, "uid": account["serviceaccount"]["uid"], "groups": groups}
    return {"authenticated": True, "user": user, "audiences": claims["aud"]}


@contextlib.contextmanager
def running_cluster(issuer: LocalIssuer, folder: Path) -> Iterator[tuple[str, str]]:
    """Its address, and the certificate (PEM) that verifies it."""
    certificate, key = folder / "cluster.pem", folder / "cluster.key"
    write_certificate(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
            answer = {**asked, "status": _review(issuer, asked["spec"]["token"])}
            body = json.dumps(answer).encode()
            self.send_response(201 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", certificate.read_text()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
