"""The configuration repository in Git. Its law: nothing reads a work tree, and only the MirrorLock's holder writes.

What is read is named by id, at a commit; what reaches Git as a revision is 40 hex digits. Requests for an installed
commit start no process. No text of Git's leaves this folder, as it may name URLs, users and paths.
"""

from app.repository.backend import GitConfigBackend
from app.repository.environment import GitCredentials, protocol_of
from app.repository.errors import BlobTooLarge, HeadMoved, ObjectLost, PushUncertain
from app.repository.further import FurtherRepository, RepositoriesError, load_repositories
from app.repository.history import HistoryFile
from app.repository.lock import MirrorLock
from app.repository.past import Past, past_of
from app.repository.probe import Remote, look_at
from app.repository.signatures import Signature
from app.repository.snapshots import Snapshots
from app.repository.writer import Author, Draft, GitWriter, NewFile

__all__ = [
    "Author",
    "BlobTooLarge",
    "Draft",
    "FurtherRepository",
    "GitConfigBackend",
    "GitCredentials",
    "GitWriter",
    "HeadMoved",
    "HistoryFile",
    "MirrorLock",
    "NewFile",
    "ObjectLost",
    "Past",
    "PushUncertain",
    "Remote",
    "RepositoriesError",
    "Signature",
    "Snapshots",
    "load_repositories",
    "look_at",
    "past_of",
    "protocol_of",
]
