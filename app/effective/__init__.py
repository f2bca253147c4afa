"""From files to one configuration. Law: pure functions of their arguments; no I/O, no clock, no thread, no setting.

The way of the data: `candidates` names the files of a target, `parse` turns each into Sources, `ordered` ranks them,
`fold` makes the Effective; `fill` or `mask` and a `Format` make what is answered.
"""

from app.effective.activation import active
from app.effective.canonical import canonical, fingerprint
from app.effective.codec import LOADER_VERSION, decode, encode
from app.effective.diff import changed_keys, patch
from app.effective.documents import parse
from app.effective.edit import KeyEdits, edit
from app.effective.edit_tree import EditRefused
from app.effective.editable import check_path, check_unmasked, folders_of
from app.effective.expand import MapTree, expand
from app.effective.fill import as_written, fill, mask, references, sealed
from app.effective.fold import fold, ordered
from app.effective.formats import FORMATS, Format, flatten, subtree
from app.effective.keys import key_text, parse_key
from app.effective.leaves import leaf_nodes
from app.effective.matching import checked_pattern, matching
from app.effective.overrides import NO_OVERRIDES, OVERRIDES, Overrides, read_overrides
from app.effective.places import Places
from app.effective.precedence import DEFAULT_ENV, Candidate, candidates, checked_search_path, locations
from app.effective.reach import EVERYTHING, OWN_FOLDER, Layout, Reach
from app.effective.references import MalformedReference, parse_template, transit_reference
from app.effective.schema_file import BrokenSchema, SchemaFile, read_schema, schema_paths
from app.effective.secret_documents import NO_DOCUMENTS, Documents, documents_of, secret_source
from app.effective.secret_sources import SecretSources, SourcePath
from app.effective.spring_flat import leaves as spring_leaves
from app.effective.spring_formats import SPRING_FORMATS, merged
from app.effective.spring_sheet import PropertySource, property_sources, spring_sheet
from app.effective.spring_text import SpringPlaceholders
from app.effective.text import fill_text
from app.effective.validation import CompiledSchema, Violation, first_violation

__all__ = [
    "DEFAULT_ENV",
    "EVERYTHING",
    "FORMATS",
    "LOADER_VERSION",
    "NO_DOCUMENTS",
    "NO_OVERRIDES",
    "OVERRIDES",
    "OWN_FOLDER",
    "SPRING_FORMATS",
    "BrokenSchema",
    "Candidate",
    "CompiledSchema",
    "Documents",
    "EditRefused",
    "Format",
    "KeyEdits",
    "Layout",
    "MalformedReference",
    "MapTree",
    "Overrides",
    "Places",
    "PropertySource",
    "Reach",
    "SchemaFile",
    "SecretSources",
    "SourcePath",
    "SpringPlaceholders",
    "Violation",
    "active",
    "as_written",
    "candidates",
    "canonical",
    "changed_keys",
    "check_path",
    "check_unmasked",
    "checked_pattern",
    "checked_search_path",
    "decode",
    "documents_of",
    "edit",
    "encode",
    "expand",
    "fill",
    "fill_text",
    "fingerprint",
    "first_violation",
    "flatten",
    "fold",
    "folders_of",
    "key_text",
    "leaf_nodes",
    "locations",
    "mask",
    "matching",
    "merged",
    "ordered",
    "parse",
    "parse_key",
    "parse_template",
    "patch",
    "property_sources",
    "read_overrides",
    "read_schema",
    "references",
    "schema_paths",
    "sealed",
    "secret_source",
    "spring_leaves",
    "spring_sheet",
    "subtree",
    "transit_reference",
]
