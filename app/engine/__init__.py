"""The one pipeline: Git -> Tree -> Sources -> Effective -> cache -> secrets filled in -> answer.

Law: a worker tells its streams only of what it has installed itself; secrets are filled in on the way out; a bad commit
never takes a good configuration away. Nothing here knows Flask.
"""

from app.engine.answer import FORMAT_NAMES, Answer, Lasting, Reader, ReadRequest
from app.engine.difference import KeyChange, changes, json_patch
from app.engine.engine import ConfigEngine, Current
from app.engine.files import FileAnswer, PlainFiles
from app.engine.history import History
from app.engine.history_keeper import HistoryKeeper
from app.engine.installer import Installer
from app.engine.instances import Instance, Instances, totals
from app.engine.loader import Loader, Trees
from app.engine.problems import Problem, Problems, bad_head
from app.engine.puller import Puller
from app.engine.resolver import Resolution, Resolver
from app.engine.rollouts import Rollouts
from app.engine.schemas import Blobs, SchemaProblem, Schemas
from app.engine.secret_watch import SecretWatch
from app.engine.sources_in import SourceReader
from app.engine.spring import Environment, SpringEnvironments, SpringRequest
from app.engine.spring_answer import SpringFiles, flat_document, property_sources_json
from app.engine.spring_loader import SpringLoader
from app.engine.targets import Targets
from app.engine.touched import Touched, looking
from app.engine.transit_in import TransitReader
from app.engine.vault_in import SecretReader, Versions
from app.engine.vouched import EveryHead, VouchedHeads, Vouching
from app.engine.world import Head, World, cursor_of

__all__ = [
    "FORMAT_NAMES",
    "Answer",
    "Blobs",
    "ConfigEngine",
    "Current",
    "Environment",
    "EveryHead",
    "FileAnswer",
    "Head",
    "History",
    "HistoryKeeper",
    "Installer",
    "Instance",
    "Instances",
    "KeyChange",
    "Lasting",
    "Loader",
    "PlainFiles",
    "Problem",
    "Problems",
    "Puller",
    "ReadRequest",
    "Reader",
    "Resolution",
    "Resolver",
    "Rollouts",
    "SchemaProblem",
    "Schemas",
    "SecretReader",
    "SecretWatch",
    "SourceReader",
    "SpringEnvironments",
    "SpringFiles",
    "SpringLoader",
    "SpringRequest",
    "Targets",
    "Touched",
    "TransitReader",
    "Trees",
    "Versions",
    "VouchedHeads",
    "Vouching",
    "World",
    "bad_head",
    "changes",
    "cursor_of",
    "flat_document",
    "json_patch",
    "looking",
    "property_sources_json",
    "totals",
]
