"""The verifier inside a Flask application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, current_app, g, request
from flask.testing import FlaskClient
from flask_jwt_extended import create_access_token, current_user, get_jwt_identity, jwt_required

from app.access import bearer_token
from app.errors import Unauthenticated
from app.model import Principal
from devstack.issuer import LocalIssuer
from tests.access.support import Gate, claims_of, hmac_signed, opened, unsigned

REVOKED = "revoked-id"


@pytest.fixture(scope="module")
def guarded(issuer: LocalIssuer) -> Iterator[Gate]:
    """An application with one route behind flask-jwt-extended's own decorator, and one answer to Unauthenticated."""
    with opened(issuer, revoked=lambda principal: principal.token_id == REVOKED) as gate:
        gate.app.add_url_rule("/who", view_func=who)
        gate.app.add_url_rule("/fresh", view_func=fresh)
        gate.app.register_error_handler(Unauthenticated, unauthorized)
        yield gate


@jwt_required()  # type: ignore[untyped-decorator] # the library's own lack
def who() -> str:
    assert isinstance(current_user._get_current_object(), Principal)
    return f"{current_user.subject} {get_jwt_identity()}"


@jwt_required(fresh=True)  # type: ignore[untyped-decorator] # the library's own lack
def fresh() -> str:
    return "fresh"


def unauthorized(error: Unauthenticated) -> Response:
    return Response(str(error), 401, {"WWW-Authenticate": "Bearer"})


@pytest.fixture
def client(guarded: Gate) -> FlaskClient:
    return guarded.app.test_client()


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_decorator_accepts_what_the_verifier_accepts(client: FlaskClient, issuer: LocalIssuer) -> None:
    answer = client.get("/who", headers=bearing(issuer.token("alice")))

    assert (answer.status_code, answer.text) == (200, "alice alice")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other"}, "the token does not verify"),
        ({"iss": "https://elsewhere"}, "the token's issuer is not trusted"),
        ({"exp": None}, "the token's claims are not acceptable"),
        ({"exp": 5, "iat": 1, "nbf": 1}, "the token has expired"),
        ({"sub": 7}, "the token does not verify"),
        ({"sub": None}, "the token does not verify"),
        ({"nonce": "n"}, "the token's claims are not acceptable"),
        ({"jti": REVOKED}, "the token has been revoked"),
    ],
)
def test_the_decorator_refuses_with_the_applications_own_401(
    client: FlaskClient, issuer: LocalIssuer, claims: dict[str, Any], reason: str
) -> None:
    answer = client.get("/who", headers=bearing(issuer.token(**claims)))

    assert (answer.status_code, answer.text) == (401, reason)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_decorator_refuses_forgeries_with_401(client: FlaskClient, issuer: LocalIssuer) -> None:
    key = issuer.key()
    forgeries = [
        unsigned({"alg": "none"}, claims_of(issuer)),
        hmac_signed(key.pem.encode(), {"alg": "HS256", "kid": key.kid}, claims_of(issuer)),
        "garbage",
        "a.b.c",
        issuer.token(headers={"kid": "unknown"}),
        issuer.token()[:-4] + "AAAA",
    ]

    assert [client.get("/who", headers=bearing(token)).status_code for token in forgeries] == [401] * len(forgeries)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer a b"}])
def test_no_token_is_401(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/who", headers=headers).status_code == 401


def test_a_token_elsewhere_than_in_the_header_is_not_seen(client: FlaskClient, issuer: LocalIssuer) -> None:
    token = issuer.token()
    client.set_cookie("access_token_cookie", token)

    assert client.get(f"/who?jwt={token}&access_token={token}").status_code == 401


def test_a_token_that_is_not_fresh_is_401(client: FlaskClient, issuer: LocalIssuer) -> None:
    assert client.get("/fresh", headers=bearing(issuer.token())).status_code == 401


def test_shared_secrets_are_not_among_the_algorithms(guarded: Gate) -> None:
    guarded.app.config["JWT_SECRET_KEY"] = "x" * 64
    with guarded.app.app_context():
        assert guarded.app.config["JWT_DECODE_ALGORITHMS"] == ["ES256", "RS256"]
        with pytest.raises(RuntimeError, match="JWT_PRIVATE_KEY"):
            create_access_token("mallory")


def test_the_verifier_works_outside_inside_and_beside_a_request(issuer: LocalIssuer) -> None:
    with opened(issuer) as gate:
        ended: list[str] = []
        gate.app.teardown_appcontext(lambda error: ended.append("context"))
        assert gate.verify(issuer.token("outside")).subject == "outside"
        ended.clear()

        with gate.app.test_request_context(headers=bearing(issuer.token("inside"))):
            g.mine = "kept"
            assert gate.verify(bearer_token(request.headers["Authorization"])).subject == "inside"
            assert g.mine == "kept"
            assert ended == []

        with Flask("another").app_context():
            assert gate.verify(issuer.token("next door")).subject == "next door"
            assert current_app.name == "another"
