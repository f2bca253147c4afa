"""Values that the tests of the cursor share."""

from __future__ import annotations

from collections.abc import Mapping

from app.model import RefKind, SecretPath
from app.notify import Cursor, CursorStore, LabelHead, Rev
from app.secrets import Known

EPOCH = "1-0123abcd"
AT = "2025-01-02T03:04:05.678Z"
DATABASE = SecretPath("kv", "services/pay/prod/db")


def commit(number: int) -> str:
    return f"{number:040x}"


def head(number: int | None, seq: int = 1) -> LabelHead:
    return LabelHead(RefKind.BRANCH, None if number is None else commit(number), seq, AT)


def cursor(seq: int = 1, epoch: str = EPOCH, labels: Mapping[str, LabelHead] | None = None) -> Cursor:
    return Cursor(Rev(epoch, seq), "main", labels or {"main": head(1)}, {DATABASE: Known(3)})


def seeded(store: CursorStore, **labels: LabelHead) -> Cursor:
    """The store with a first cursor in it, as read."""
    assert store.seed(None, cursor(labels=labels))
    return standing(store)


def standing(store: CursorStore) -> Cursor:
    found = store.read()
    assert found is not None
    return found
