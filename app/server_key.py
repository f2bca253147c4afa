"""The server key: from one secret file, a key of its own for each purpose (HKDF, RFC 5869). Never in Redis."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import SettingsError

MIN_BYTES = 16


def load_server_key(path: Path | None, data_dir: Path) -> bytes:
    """The key in `path`, else that of `data_dir`, made once (0600). Raises SettingsError when it is too short."""
    source = path or _made_once(data_dir / "server.key")
    key = source.read_bytes().strip()
    if len(key) < MIN_BYTES:
        name = "CONFIG_SERVER_KEY_FILE" if path else "server.key in CONFIG_SERVER_DATA_DIR"
        raise SettingsError([f"{name}: fewer than {MIN_BYTES} bytes"])
    return key


def derive(key: bytes, purpose: str) -> bytes:
    """32 bytes for `purpose`; who learns one of them learns neither the key nor the others."""
    return HKDF(hashes.SHA256(), 32, None, f"config-server {purpose}".encode()).derive(key)


def _made_once(path: Path) -> Path:
    """Whoever links the file first wins, so that two processes starting together share one key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            _write(draft, secrets.token_hex(32).encode())
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    return path


def _write(path: Path, content: bytes) -> None:
    """A new file that only we may read, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
