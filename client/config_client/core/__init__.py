"""The protocol without I/O. Law: events and the time come in, actions go out; no socket, thread, clock or token."""

from config_client.core.actions import (
    Action,
    Ask,
    Close,
    Fetched,
    Install,
    Judge,
    Note,
    OpenEvents,
    OpenSocket,
    Renew,
    Save,
    Send,
)
from config_client.core.core import Core
from config_client.core.events import (
    Answered,
    Ended,
    Event,
    Failed,
    Fetch,
    Judged,
    Listen,
    Opened,
    Received,
    Renewed,
)
from config_client.core.ladder import TRANSPORTS, Ladder, Trouble
from config_client.core.subject import Subject

__all__ = [
    "TRANSPORTS",
    "Action",
    "Answered",
    "Ask",
    "Close",
    "Core",
    "Ended",
    "Event",
    "Failed",
    "Fetch",
    "Fetched",
    "Install",
    "Judge",
    "Judged",
    "Ladder",
    "Listen",
    "Note",
    "OpenEvents",
    "OpenSocket",
    "Opened",
    "Received",
    "Renew",
    "Renewed",
    "Save",
    "Send",
    "Subject",
    "Trouble",
]
