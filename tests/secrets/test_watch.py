"""What one look at Vault reports."""

from __future__ import annotations

from uuid import uuid4

from app.model import SecretPath
from app.secrets import Breaker, Known, Observation, SecretStore, VaultSecretBackend, VersionWatch
from devstack.bao import Bao
from tests.secrets.fakes import MemoryBackend

DB = SecretPath("kv", "db")
API = SecretPath("kv", "api")
OLD = SecretPath("old", "legacy")
NOTHING = Observation({}, frozenset(), frozenset())


def room() -> tuple[MemoryBackend, SecretStore, VersionWatch]:
    backend = MemoryBackend()
    for path in (DB, API, OLD):
        backend.put(path, {"password": "one"})
    store = SecretStore(backend, ttl=60, grace=0, digest_key=b"k", breaker=Breaker(failures=3))
    return backend, store, VersionWatch(backend, store)


def test_first_look_tells_all_and_the_second_nothing() -> None:
    _, store, watch = room()
    first = watch.observe({DB: Known(), OLD: Known()})
    assert first.changed == {DB: Known(1), OLD: Known(1, store.digest({"password": "one"}))}
    assert watch.observe(first.changed) == NOTHING


def test_only_what_rose_is_reported() -> None:
    backend, store, watch = room()
    known = dict(watch.observe({DB: Known(), API: Known(), OLD: Known()}).changed)
    backend.put(DB, {"password": "two"})
    backend.put(OLD, {"password": "two"})
    seen = watch.observe(known)
    assert seen.changed == {DB: Known(2), OLD: Known(2, store.digest({"password": "two"}))}
    assert (seen.gone, seen.unanswered) == (frozenset(), frozenset())


def test_unversioned_document_written_again_with_equal_data_has_not_changed() -> None:
    backend, _, watch = room()
    known = watch.observe({OLD: Known()}).changed
    backend.put(OLD, {"password": "one"})
    assert watch.observe(known) == NOTHING


def test_gone_is_told_once_and_so_is_the_return_at_the_same_version() -> None:
    backend, _, watch = room()
    backend.forbidden |= {DB, OLD}
    legacy = watch.observe({OLD: Known()})
    assert legacy.gone == {OLD}
    assert watch.observe({DB: Known(1), API: Known(1)}) == Observation({}, frozenset({DB}), frozenset())
    assert watch.observe({DB: Known(1, gone=True)}) == NOTHING
    backend.forbidden.clear()
    back = watch.observe({DB: Known(1, gone=True), OLD: Known(4, "digest", gone=True)}).changed
    assert back[DB] == Known(1)
    assert back[OLD].version == 5


def test_a_path_that_came_back_is_told_once() -> None:
    """Its announced version carries a mark of its new life, which Vault does not know."""
    backend, _, watch = room()
    assert watch.observe({DB: Known(1, "a-new-life")}) == NOTHING
    backend.put(DB, {"password": "two"})
    assert watch.observe({DB: Known(1, "a-new-life")}).changed == {DB: Known(2)}


def test_path_that_fails_does_not_stop_the_others() -> None:
    backend, _, watch = room()
    backend.broken.add(DB)
    assert watch.observe({DB: Known(1), API: Known()}) == Observation({API: Known(1)}, frozenset(), frozenset({DB}))


def test_silent_vault_is_asked_a_few_times_and_nothing_is_reported_gone() -> None:
    backend, store, watch = room()
    backend.down = True
    paths = [SecretPath("old", f"p{number}") for number in range(50)]
    seen = watch.observe(dict.fromkeys(paths, Known(1, "x")))
    assert seen == Observation({}, frozenset(), frozenset(paths))
    assert store.status()["breaker"] == "open"


def test_lower_version_is_believed_at_the_second_look() -> None:
    backend, _, watch = room()
    known = {DB: Known(5)}
    assert watch.observe(known) == NOTHING
    assert watch.observe(known).changed == {DB: Known(1)}
    backend.put(DB, {"password": "two"})
    assert watch.observe({DB: Known(2)}) == NOTHING


def test_laggard_that_catches_up_is_no_news() -> None:
    backend, _, watch = room()
    known = {DB: Known(2)}
    assert watch.observe(known) == NOTHING
    backend.put(DB, {"password": "two"})
    assert watch.observe(known) == NOTHING
    backend.delete(DB)
    assert watch.observe(known).gone == {DB}


def test_rotation_deletion_and_undeletion_on_a_real_server(bao: Bao, vault: VaultSecretBackend) -> None:
    watch = VersionWatch(vault, SecretStore(vault, ttl=60, grace=0, digest_key=b"k"))
    new, old = SecretPath("kv", f"watch/{uuid4().hex}"), SecretPath("old", f"watch/{uuid4().hex}")
    bao.put(new.path, {"x": 1})
    bao.put(old.path, {"x": 1}, "kv1")
    known = dict(watch.observe({new: Known(), old: Known()}).changed)
    assert {path: state.version for path, state in known.items()} == {new: 1, old: 1}
    bao.put(new.path, {"x": 2})
    bao.put(old.path, {"x": 2}, "kv1")
    known = dict(watch.observe(known).changed)
    assert {path: state.version for path, state in known.items()} == {new: 2, old: 2}
    bao.delete(new.path)
    bao.delete(old.path, "kv1")
    assert watch.observe(known).gone == {new, old}
    bao.root.secrets.kv.v2.undelete_secret_versions(new.path, [2], mount_point="secret")
    assert watch.observe({new: Known(2, gone=True)}).changed == {new: Known(2)}
