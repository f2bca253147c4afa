"""What every SecretBackend does: the real one on OpenBao and the fake that other tests use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest

from app.model import Json, SecretPath
from app.secrets import SecretBackend, SecretDenied, VaultSecretBackend
from devstack.bao import Bao
from tests.secrets.fakes import MemoryBackend


@dataclass(frozen=True)
class World:
    """A backend and the ways to change what it reads."""

    backend: SecretBackend
    put: Callable[[SecretPath, Mapping[str, Json]], int]
    delete: Callable[[SecretPath], None]


@pytest.fixture(params=["openbao", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        memory = MemoryBackend()
        return World(memory, memory.put, memory.delete)
    bao: Bao = request.getfixturevalue("bao")
    vault: VaultSecretBackend = request.getfixturevalue("vault")
    mounts = {"kv": "secret", "old": "kv1"}
    return World(
        vault,
        lambda path, data: bao.put(path.path, data, mounts[path.alias]),
        lambda path: bao.delete(path.path, mounts[path.alias]),
    )


@pytest.fixture
def path() -> SecretPath:
    return SecretPath("kv", f"services/pay/prod/{uuid4().hex}")


@pytest.fixture
def old() -> SecretPath:
    return SecretPath("old", f"services/pay/prod/{uuid4().hex}")


def test_latest_and_exact_versions_are_read_with_their_types(world: World, path: SecretPath) -> None:
    document: dict[str, Json] = {"text": "ü", "number": 7, "flag": True, "list": [1, {"a": None}]}
    world.put(path, {"text": "first"})
    world.put(path, document)
    assert world.backend.read(path, None) == (document, 2)
    assert world.backend.read(path, 1) == ({"text": "first"}, 1)
    assert world.backend.current_version(path) == 2


def test_engine_without_versions_answers_zero_and_what_there_is_now(world: World, old: SecretPath) -> None:
    world.put(old, {"password": "one"})
    world.put(old, {"password": "two"})
    assert world.backend.read(old, 1) == world.backend.read(old, None) == ({"password": "two"}, 0)
    assert world.backend.current_version(old) == 0


def test_missing_path_is_denied_whole(world: World, path: SecretPath) -> None:
    with pytest.raises(SecretDenied) as caught:
        world.backend.read(path, None)
    assert caught.value.whole_path
    with pytest.raises(SecretDenied):
        world.backend.current_version(path)


def test_missing_version_is_denied_alone(world: World, path: SecretPath) -> None:
    world.put(path, {"x": 1})
    with pytest.raises(SecretDenied) as caught:
        world.backend.read(path, 2)
    assert not caught.value.whole_path


def test_deleted_latest_version_is_denied_and_the_former_one_is_not(world: World, path: SecretPath) -> None:
    world.put(path, {"x": 1})
    world.put(path, {"x": 2})
    world.delete(path)
    for version in (None, 2):
        with pytest.raises(SecretDenied):
            world.backend.read(path, version)
    with pytest.raises(SecretDenied):
        world.backend.current_version(path)
    assert world.backend.read(path, 1) == ({"x": 1}, 1)


def test_denial_looks_the_same_whatever_the_cause(world: World, path: SecretPath) -> None:
    world.put(path, {"x": 1})
    texts = set()
    for asked, version in ((path, 9), (SecretPath("kv", "nowhere"), None)):
        with pytest.raises(SecretDenied) as caught:
            world.backend.read(asked, version)
        texts.add(str(caught.value))
    assert texts == {"the secret is not allowed or not found"}
