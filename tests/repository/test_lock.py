"""The mirror's lock: one holder, freed by death, and what the successor cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitConfigBackend, GitCredentials, MirrorLock
from devstack.origin import OriginRepo
from tests.repository.conftest import MakeBackend
from tests.repository.processes import working_for
from tests.repository.servers import silent_server
from tests.support import eventually

HOLDER = """
import sys
from pathlib import Path
from app.repository import GitConfigBackend, GitCredentials, MirrorLock
lock = MirrorLock(Path(sys.argv[1]), directory=Path(sys.argv[2]))
assert lock.acquire()
print("held", flush=True)
GitConfigBackend(sys.argv[3], Path(sys.argv[2]), credentials=GitCredentials(), timeout=60, clone_timeout=60).fetch()
"""


def test_one_holds_the_lock_and_others_do_not_wait(tmp_path: Path) -> None:
    path, directory = tmp_path / "data" / "mirror.lock", tmp_path / "mirror"
    first, second = MirrorLock(path, directory=directory), MirrorLock(path, directory=directory)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert (first.held, second.held) == (True, False)
    first.release()
    first.release()
    assert second.acquire()
    assert not first.acquire()
    second.release()


def test_heartbeat_tells_who_and_when(tmp_path: Path) -> None:
    now = [1_700_000_000.5]
    lock = MirrorLock(tmp_path / "mirror.lock", directory=tmp_path / "mirror", clock=lambda: now[0])
    assert lock.last_heartbeat() is None
    lock.heartbeat()
    assert lock.last_heartbeat() is None
    lock.acquire()
    assert lock.last_heartbeat() == (os.getpid(), 1_700_000_000.5)
    now[0] = 1_700_000_100.0
    lock.heartbeat()
    assert lock.last_heartbeat() == (os.getpid(), 1_700_000_100.0)
    lock.release()


def test_only_the_holder_cleans_up(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        MirrorLock(tmp_path / "mirror.lock", directory=tmp_path / "mirror").clean_up_after_former_holder()


def test_killed_holders_lock_is_free_and_its_git_is_ended(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    commit = origin.write({"a": "1"})
    backend = make_backend(origin.url)
    backend.fetch()
    mirror = tmp_path / "mirror"
    lock = MirrorLock(tmp_path / "mirror.lock", directory=mirror)
    with silent_server() as port:
        arguments = [str(tmp_path / "mirror.lock"), str(mirror), f"git://127.0.0.1:{port}/x"]
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, *arguments], stdout=subprocess.PIPE)
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert not lock.acquire()
        eventually(lambda: working_for(mirror) and (mirror / "process").exists())
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        assert working_for(mirror) != []

        assert lock.acquire()
        leftovers = [mirror / "current" / name for name in ("packed-refs.lock", "refs/heads/main.lock", "HEAD.lock")]
        for file in leftovers:
            file.touch()
        (mirror / "clone-half").mkdir()
        lock.clean_up_after_former_holder()
        eventually(lambda: working_for(mirror) == [])
    assert not any(file.exists() for file in leftovers)
    assert not (mirror / "clone-half").exists()
    assert backend.fetch().branches == {"main": commit}
    lock.release()


def test_recorded_group_that_is_a_strangers_now_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "process").write_text(str(stranger.pid))
    lock = MirrorLock(tmp_path / "mirror.lock", directory=tmp_path / "mirror")
    lock.acquire()
    lock.clean_up_after_former_holder()
    lock.release()
    assert stranger.poll() is None
    assert not (tmp_path / "mirror" / "process").exists()
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("record", ["", "nonsense", "0", "1", "-1", "99999999"])
def test_record_that_means_nothing_harms_nothing(tmp_path: Path, record: str) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "process").write_text(record)
    lock = MirrorLock(tmp_path / "mirror.lock", directory=tmp_path / "mirror")
    lock.acquire()
    lock.clean_up_after_former_holder()
    lock.release()


def test_fetching_thread_does_not_stop_readers(tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend) -> None:
    commit = origin.write({"a": "1"})
    make_backend(origin.url).fetch()
    with silent_server() as port:
        backend = GitConfigBackend(
            f"git://127.0.0.1:{port}/x",
            tmp_path / "mirror",
            credentials=GitCredentials(),
            timeout=60,
            clone_timeout=60,
        )
        failures: list[RepositoryUnavailable] = []

        def fetch() -> None:
            try:
                backend.fetch()
            except RepositoryUnavailable as failure:
                failures.append(failure)

        thread = threading.Thread(target=fetch)
        thread.start()
        eventually(lambda: (tmp_path / "mirror" / "process").exists())
        blob = backend.tree(commit).blobs["a"].id
        assert backend.blob(blob, limit=1) == b"1"
        assert thread.is_alive()
    thread.join()  # as the connection ends with the server
    backend.close()
    assert len(failures) == 1
