"""Role bindings: matching, and telling every fault of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.access import RbacError, load_rbac, parse_grants
from app.model import Grant

EXAMPLE = Path(__file__).parents[2] / "config" / "rbac.toml"

BINDINGS = """
[[binding]]
claims = { groups = "platform" }
permissions = ["config:write", "config:view"]

[[binding]]
claims = { groups = "pay", admin = true }
permissions = ["config:read:pay*/dev"]

[[binding]]
claims = { level = 1 }
permissions = ["config:audit"]
issuer = "https://a"

[[binding]]
claims = { realm_access = { roles = "ops" } }
permissions = ["config:encrypt"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rbac.toml"


@pytest.mark.parametrize(
    ("claims", "issuer", "permissions"),
    [
        ({"groups": "platform"}, "https://a", ["config:write", "config:view"]),
        ({"groups": ["x", "platform"]}, "https://b", ["config:write", "config:view"]),
        ({"groups": "platform pay"}, "https://a", []),
        ({"groups": ["Platform"]}, "https://a", []),
        ({"groups": ["platforms"]}, "https://a", []),
        ({"groups": {"platform": 1}}, "https://a", []),
        ({"groups": [["platform"]]}, "https://a", []),
        ({"groups": None}, "https://a", []),
        ({}, "https://a", []),
        ({"groups": ["pay"]}, "https://a", []),
        ({"groups": ["pay"], "admin": True}, "https://a", ["config:read:pay*/dev"]),
        ({"groups": ["pay"], "admin": 1}, "https://a", []),
        ({"groups": ["pay"], "admin": "true"}, "https://a", []),
        ({"groups": ["pay", "platform"], "admin": True}, "", ["config:write", "config:view", "config:read:pay*/dev"]),
        ({"level": 1}, "https://a", ["config:audit"]),
        ({"level": True}, "https://a", []),
        ({"level": 1}, "https://b", []),
        ({"realm_access": {"roles": ["dev", "ops"]}}, "https://a", ["config:encrypt"]),
        ({"realm_access": "ops"}, "https://a", []),
        ({"realm_access.roles": ["ops"]}, "https://a", []),
    ],
)
def test_a_binding_gives_its_permissions_when_all_of_its_claims_match(
    file: Path, claims: dict[str, Any], issuer: str, permissions: list[str]
) -> None:
    file.write_text(BINDINGS)

    assert load_rbac(file).grants(issuer, claims) == parse_grants(permissions)


def test_a_grant_of_two_bindings_comes_once(file: Path) -> None:
    one = '[[binding]]\nclaims = { a = "x" }\npermissions = ["config:view"]\n'
    file.write_text(one + one.replace('a = "x"', 'b = "y"'))

    assert load_rbac(file).grants("i", {"a": "x", "b": "y"}) == (Grant("view"),)


def test_an_empty_file_binds_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")

    assert load_rbac(file).grants("https://a", {"groups": "platform"}) == ()


def test_every_fault_of_a_file_is_told_at_once(file: Path) -> None:
    file.write_text("""
    [[binding]]
    permissions = ["config:read", "config:reed", 7]
    [[binding]]
    claims = {}
    permissions = []
    isuer = "https://a"
    [[binding]]
    claims = { groups = ["a", "b"], inner = { deep = 1.5 }, empty = "" }
    permissions = "config:read"
    issuer = ""
    [binding_typo]
    """)

    with pytest.raises(RbacError) as wrong:
        load_rbac(file)

    assert wrong.value.problems == (
        "binding_typo: unknown, only [[binding]] is",
        "binding 1: claims: must be a table of at least one claim",
        "binding 1: permissions: 'config:reed' is not a permission",
        "binding 1: permissions: 7 is not a permission",
        "binding 2: isuer: unknown",
        "binding 2: claims: must be a table of at least one claim",
        "binding 2: permissions: must be a list of at least one permission",
        "binding 3: claims.groups: must be a text, a whole number, true or false",
        "binding 3: claims.inner.deep: must be a text, a whole number, true or false",
        "binding 3: claims.empty: must be a text, a whole number, true or false",
        "binding 3: permissions: must be a list of at least one permission",
        "binding 3: issuer: must be the text of the iss claim",
    )
    assert isinstance(wrong.value, ValueError)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[[binding]", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"binding = 1", "must be written [[binding]]"),
        (b"binding = [1]", "binding 1: must be written [[binding]]"),
    ],
)
def test_a_file_of_another_shape_is_told(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)

    with pytest.raises(RbacError, match=problem.replace("[", r"\[")):
        load_rbac(file)


def test_a_missing_file_is_told_without_its_path(file: Path) -> None:
    with pytest.raises(RbacError, match="cannot be read") as wrong:
        load_rbac(file)
    assert str(file) not in str(wrong.value)


def test_the_example_that_is_shipped_loads() -> None:
    rbac = load_rbac(EXAMPLE)

    assert rbac.grants("any", {"groups": ["platform"]}) == parse_grants(["config:view", "config:write", "config:audit"])
    assert rbac.grants("any", {"client_id": "orders-ci"}) == ()
