"""Who must know what, and when. Law: state, not events; losing a message delays a change and never loses it.

The cursor says where everything stands, the bus that it may have moved, the hub who in this worker listens, and the
wire how that is written. Only ids travel: no document, no secret.
"""

from app.notify.bus import Bus, LocalBus, RedisBus
from app.notify.cursor import (
    Announced,
    Cursor,
    CursorStore,
    Hold,
    LabelHead,
    Rev,
    Stopped,
    host_epoch,
    new_epoch,
    now_text,
)
from app.notify.heads_file import Fetched, HeadsFile, Hints, HostState
from app.notify.hub import ConfigChangeNotifier, Subscriber
from app.notify.leases import LocalLeases, RedisLeases
from app.notify.local import LocalCursorStore
from app.notify.presence import Connection, LocalPresence, Presence, RedisPresence
from app.notify.redis_cursor import RedisCursorStore, channel_of

__all__ = [
    "Announced",
    "Bus",
    "ConfigChangeNotifier",
    "Connection",
    "Cursor",
    "CursorStore",
    "Fetched",
    "HeadsFile",
    "Hints",
    "Hold",
    "HostState",
    "LabelHead",
    "LocalBus",
    "LocalCursorStore",
    "LocalLeases",
    "LocalPresence",
    "Presence",
    "RedisBus",
    "RedisCursorStore",
    "RedisLeases",
    "RedisPresence",
    "Rev",
    "Stopped",
    "Subscriber",
    "channel_of",
    "host_epoch",
    "new_epoch",
    "now_text",
]
