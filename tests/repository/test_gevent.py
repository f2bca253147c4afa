"""Under gevent, as in a gunicorn worker: greenlets share one backend while another fetches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devstack.origin import OriginRepo
from tests.repository.servers import silent_server

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import sys, threading, time
from pathlib import Path
import gevent
from app.errors import RepositoryUnavailable
from app.repository import GitConfigBackend, GitCredentials

def backend(url, timeout):
    return GitConfigBackend(url, Path(sys.argv[1]), credentials=GitCredentials(), timeout=timeout, clone_timeout=30)

origin, commit, silent = sys.argv[2:5]
puller = backend(origin, 30)
puller.fetch()
worker = backend(origin, 30)
blobs = worker.tree(commit).blobs
wrong = []

def read(number):
    for step in range(4):
        name = f"f{(number + step * 50) % 200}"
        if worker.blob(blobs[name].id, limit=1 << 20) != (name + " ").encode() * 400:
            wrong.append(name)
        gevent.sleep(0)

def pull():
    for _ in range(3):
        puller.fetch()
    puller.rebuild()

readers = [gevent.spawn(read, number) for number in range(50)]
fetching = threading.Thread(target=pull)
fetching.start()
gevent.joinall(readers, raise_error=True)
fetching.join()
assert not wrong, wrong

# A greenlet that is killed in the middle of a read must not leave its answer to the next one.
for number in range(30):
    victim = gevent.spawn(read, number)
    gevent.sleep(number * 0.0003)
    victim.kill()
read(0)
assert not wrong, wrong

# A hung remote ends at the timeout and stops nobody meanwhile.
ticks, during = [], []
def fetch_from_silence():
    before = len(ticks)
    try:
        backend(silent, 1.0).fetch()
    except RepositoryUnavailable:
        return "ended"
    finally:
        during[:] = ticks[before:]

hung = gevent.spawn(fetch_from_silence)
started = time.monotonic()
while not hung.ready() and time.monotonic() - started < 60:
    read(1)
    ticks.append(1)
    gevent.sleep(0.01)
assert hung.value == "ended"
assert time.monotonic() - started < 20
assert len(during) > 1, ticks
worker.close()
puller.close()
print("done")
"""


def test_greenlets_share_one_backend_while_another_fetches(tmp_path: Path, origin: OriginRepo) -> None:
    commit = origin.write({f"f{number}": f"f{number} " * 400 for number in range(200)})
    with silent_server() as port:
        silent = f"git://127.0.0.1:{port}/x"
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error::ResourceWarning",
                "-c",
                SCRIPT,
                str(tmp_path / "m"),
                origin.url,
                commit,
                silent,
            ],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
