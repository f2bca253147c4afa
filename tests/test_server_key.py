"""The server key: one for all processes, kept from others, and a different one for each purpose."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import SettingsError
from app.server_key import MIN_BYTES, derive, load_server_key

ROOT = Path(__file__).resolve().parents[1]

#: Waits until the directory is made, so that all start together, and prints the key.
RACER = """
import sys
from pathlib import Path
from app.server_key import load_server_key
print("ready", flush=True)
sys.stdin.readline()
print(load_server_key(None, Path(sys.argv[1])).hex())
"""

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from app.server_key import load_server_key
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    load_server_key(None, Path(sys.argv[1]))
except OSError as exc:
    print(exc.strerror)
"""


def test_it_is_made_once_and_only_we_may_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "dir"
    key = load_server_key(None, directory)
    assert load_server_key(None, directory) == key
    assert len(key) >= 32
    assert os.listdir(directory) == ["server.key"]
    assert stat.S_IMODE((directory / "server.key").stat().st_mode) == 0o600


def test_two_servers_have_different_keys(tmp_path: Path) -> None:
    assert load_server_key(None, tmp_path / "a") != load_server_key(None, tmp_path / "b")


def test_eight_processes_that_start_together_share_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path / "data")]
    racers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        keys = {racer.communicate(timeout=60)[0] for racer in racers}
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert keys == {load_server_key(None, tmp_path / "data").hex() + "\n"}
    assert os.listdir(tmp_path / "data") == ["server.key"]


def test_a_given_file_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"  0123456789abcdef\n")
    assert load_server_key(file, tmp_path / "data") == b"0123456789abcdef"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", [b"", b"\n", b"k" * (MIN_BYTES - 1), b"k" * (MIN_BYTES - 1) + b" \n"])
def test_a_short_key_is_refused_naming_the_setting(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="CONFIG_SERVER_KEY_FILE"):
        load_server_key(file, tmp_path)
    (tmp_path / "server.key").write_bytes(content)
    with pytest.raises(SettingsError, match="CONFIG_SERVER_DATA_DIR"):
        load_server_key(None, tmp_path)


def test_a_full_disk_leaves_no_part_of_a_key(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert os.listdir(tmp_path / "data") == []


def test_each_purpose_has_a_key_of_its_own() -> None:
    purposes = ("etag", "cache", "stream digest", "")
    keys = {derive(b"k" * 32, purpose) for purpose in purposes} | {derive(b"l" * 32, purpose) for purpose in purposes}
    assert len(keys) == 8
    assert {len(key) for key in keys} == {32}
    assert derive(b"k" * 32, "etag") == derive(b"k" * 32, "etag"), "workers and hosts agree"


def test_derivation_is_hkdf_of_rfc_5869() -> None:
    assert derive(b"k" * 32, "etag") == HKDF(SHA256(), 32, None, b"config-server etag").derive(b"k" * 32)
