"""The one pipeline: Git -> Tree -> Sources -> Effective -> cache -> secrets filled in -> answer.

Law: a worker tells its streams only of what it has installed itself; secrets are filled in on the way out; a bad commit
never takes a good configuration away. Nothing here knows Flask.
"""

from app.engine.answer import FORMAT_NAMES, Answer, ReadRequest
from app.engine.engine import ConfigEngine, Current
from app.engine.files import FileAnswer, PlainFiles
from app.engine.installer import Installer
from app.engine.loader import Loader, Trees
from app.engine.puller import Puller
from app.engine.resolver import Resolution, Resolver
from app.engine.secret_watch import SecretWatch
from app.engine.targets import Targets
from app.engine.touched import Touched, looking
from app.engine.vault_in import SecretReader, Versions
from app.engine.world import Head, World, cursor_of

__all__ = [
    "FORMAT_NAMES",
    "Answer",
    "ConfigEngine",
    "Current",
    "FileAnswer",
    "Head",
    "Installer",
    "Loader",
    "PlainFiles",
    "Puller",
    "ReadRequest",
    "Resolution",
    "Resolver",
    "SecretReader",
    "SecretWatch",
    "Targets",
    "Touched",
    "Trees",
    "Versions",
    "World",
    "cursor_of",
    "looking",
]
