"""The one pipeline: Git -> Tree -> Sources -> Effective -> cache -> secrets filled in -> answer.

Law: a worker tells its streams only of what it has installed itself; secrets are filled in on the way out; a bad commit
never takes a good configuration away. Nothing here knows Flask.
"""

from app.engine.answer import FORMAT_NAMES, Answer, Lasting, Reader, ReadRequest
from app.engine.cipher_in import CipherReader
from app.engine.difference import KeyChange, changes, json_patch
from app.engine.engine import ConfigEngine, Current
from app.engine.files import FileAnswer, PlainFiles
from app.engine.further_puller import FurtherPuller
from app.engine.histories import Histories
from app.engine.history import History
from app.engine.history_keeper import HistoryKeeper
from app.engine.installer import Installer, Mirrored
from app.engine.instances import Instance, Instances, totals
from app.engine.loader import Loader, ReadsTrees, Trees
from app.engine.mirrors import EverySchema, EveryTree, Mirrors, Reads, is_configuration_of
from app.engine.placement import Further, Locates, Placement
from app.engine.problems import Problem, Problems, bad_head, shown_label
from app.engine.puller import OnHistory, Puller, Telling
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
from app.engine.vouched import EachVouched, EveryHead, VouchedHeads, Vouching
from app.engine.withheld import withheld_problems
from app.engine.world import Head, World, cursor_of

__all__ = [
    "FORMAT_NAMES",
    "Answer",
    "Blobs",
    "CipherReader",
    "ConfigEngine",
    "Current",
    "EachVouched",
    "Environment",
    "EveryHead",
    "EverySchema",
    "EveryTree",
    "FileAnswer",
    "Further",
    "FurtherPuller",
    "Head",
    "Histories",
    "History",
    "HistoryKeeper",
    "Installer",
    "Instance",
    "Instances",
    "KeyChange",
    "Lasting",
    "Loader",
    "Locates",
    "Mirrored",
    "Mirrors",
    "OnHistory",
    "Placement",
    "PlainFiles",
    "Problem",
    "Problems",
    "Puller",
    "ReadRequest",
    "Reader",
    "Reads",
    "ReadsTrees",
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
    "Telling",
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
    "is_configuration_of",
    "json_patch",
    "looking",
    "property_sources_json",
    "shown_label",
    "totals",
    "withheld_problems",
]
