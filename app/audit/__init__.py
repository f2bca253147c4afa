"""Who did what: an append-only trail of hash-chained records.

The law: never a value of a configuration or a secret, only names; a change is on disk before it is answered; a read
never waits for a disk; nothing is dropped without a record saying how much.
"""

from app.audit.aggregate import AuditAggregate
from app.audit.anchors import Anchors
from app.audit.event import AuditEvent, Outcome
from app.audit.files import made_host
from app.audit.shared import RedisSharedTrail
from app.audit.shipper import Shipper
from app.audit.trail import AuditTrail
from app.audit.verify import Verdict, verify_chain, verify_directory
from app.audit.view import AuditView, Filter
from app.errors import AuditUnavailable

__all__ = [
    "Anchors",
    "AuditAggregate",
    "AuditEvent",
    "AuditTrail",
    "AuditUnavailable",
    "AuditView",
    "Filter",
    "Outcome",
    "RedisSharedTrail",
    "Shipper",
    "Verdict",
    "made_host",
    "verify_chain",
    "verify_directory",
]
