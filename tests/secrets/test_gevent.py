"""The same single flight under gevent's greenlets, in a process of its own as it must be patched first."""

from __future__ import annotations

import subprocess
import sys

from devstack.bao import Bao


def test_fifty_greenlets_reading_one_secret_cost_one_read_and_one_login(bao: Bao) -> None:
    bao.put("gevent/db", {"password": "x"})
    command = [sys.executable, "-m", "tests.secrets.gevent_script"]
    arguments = [bao.address, bao.role_id, bao.secret_id(), "gevent/db"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "answers=50 reads=1 logins=1", done.stderr
