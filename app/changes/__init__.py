"""Changing configuration: what a change would do, and doing it. Law: a change is a commit at the origin or nothing.

Nothing is decided on a tree that is not the branch's head; nothing is pushed that would take a configuration away, or
that the audit trail does not know of; what a plan does not show does not happen.
"""

from app.changes.changes import Changes, Done, Order
from app.changes.holds import Holds, Who
from app.changes.intents import Intents
from app.changes.leave import Leave
from app.changes.plan import Plan
from app.changes.planner import Around, Planner
from app.changes.proposal import FileEdit
from app.changes.restore import Scope
from app.changes.staged import StagedBlobs

__all__ = [
    "Around",
    "Changes",
    "Done",
    "FileEdit",
    "Holds",
    "Intents",
    "Leave",
    "Order",
    "Plan",
    "Planner",
    "Scope",
    "StagedBlobs",
    "Who",
]
