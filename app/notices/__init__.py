"""Webhooks that we send: a change, a commit that is held back, a rollback.

The law: names and commits, never a value; signed; nobody waits for a receiver; whoever hears of it twice can tell.
"""

from app.notices.notices import Moved, Notices
from app.notices.outbox import Outbox

__all__ = ["Moved", "Notices", "Outbox"]
