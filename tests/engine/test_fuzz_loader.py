"""Whatever lies in a repository, a target is put together or refused by the file's name, and in bounded time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.cache import NoSharedCache
from app.effective import FORMATS, as_written, decode, encode, fingerprint
from app.effective.schema_file import SCHEMA_FOLDER
from app.engine import Loader, Schemas
from app.errors import BadConfiguration
from app.model import Effective, Target
from app.offline import Folder, validate
from app.settings import SECRET_PATHS, TRANSIT_KEYS
from tests.costs import cost
from tests.effective.strategies import documents, unhurried
from tests.effective.test_fuzz import SAMPLES

PAY = Target("pay", ("prod",), "main")
#: For a whole tree, in seconds of CPU.
BOUND = 1.0
STEMS = ("application", "pay", "pay-prod", "application-prod")
OWN = (
    ".config-server/schemas/pay.json",
    ".config-server/schemas/application.json",
    ".config-server/targets.toml",
    ".config-server/freeze.toml",
    ".config-server/rollouts.toml",
)
PATHS = st.one_of(
    st.sampled_from([f"{stem}.{extension}" for stem in STEMS for extension in ("yml", "yaml", "json", "toml")]),
    st.sampled_from([f"{stem}.properties" for stem in STEMS]),
    st.sampled_from(OWN),
)
#: What costs a reader more than it costs its writer.
PIECES = [
    "[",
    "{",
    "- ",
    "a: ",
    "a.",
    "&a ",
    "*a ",
    "a: &a [*a, *a]\n",
    "<<: *a\n",
    "\\",
    "\\\n",
    "${a}",
    "${",
    "a=",
    "[a]\n",
]
PIECES += [
    "---\n",
    "#---\n",
    "!!x ",
    "'",
    '"',
    '{"a":',
    "? ",
    "| ",
    "9",
    "\t",
    "\xe9",
    "a[0]",
    "[[a]]\n",
    "${vault:kv/",
]
repeated = st.tuples(st.sampled_from(PIECES), st.sampled_from(PIECES), st.integers(0, 3000)).map(
    lambda drawn: (drawn[0] + drawn[1] * drawn[2]).encode()
)
rendered = st.tuples(documents, st.sampled_from(["yaml", "json", "toml", "properties"])).map(
    lambda drawn: FORMATS[drawn[1]].render(drawn[0])
)
spliced = st.tuples(st.sampled_from(sorted(SAMPLES.values())), st.binary(max_size=8), st.integers(0, 80)).map(
    lambda drawn: drawn[0].encode()[: drawn[2]] + drawn[1] + drawn[0].encode()[drawn[2] :]
)
schemas = st.sampled_from([b"{}", b"true", b'{"$ref":"#"}', b'{"$ref":"application.json"}', b'{"pattern":"(a+)+$"}'])
FILES = st.one_of(st.binary(max_size=80), repeated, rendered, spliced, schemas)


@contextmanager
def checkout(files: Mapping[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        for path, data in files.items():
            file = Path(directory, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        yield Path(directory)


def loaded(folder: Folder) -> Effective | BadConfiguration:
    """What becomes of PAY, its schemas looked at too."""
    loader = Loader(
        folder,
        NoSharedCache(),
        Schemas(folder),
        search_paths=("",),
        on_lookup=lambda _cache, _hit: None,
        on_resolved=lambda _seconds: None,
    )
    loader.unapplied(PAY, folder.tree)
    try:
        return loader.load(PAY, folder.tree)
    except BadConfiguration as refused:
        return refused


def places(directory: Path) -> set[str]:
    """The files in which something is wrong for the targets that the folder itself knows."""
    report = validate(
        directory,
        envs=("prod",),
        search_paths=("",),
        secret_paths=SECRET_PATHS,
        aliases=frozenset({"kv"}),
        transit_keys=TRANSIT_KEYS,
    )
    return {found.place.partition(":")[0] for found in report.findings}


@settings(unhurried, max_examples=80)
@given(st.dictionaries(PATHS, FILES, min_size=1, max_size=5))
@example({"pay.yml": b"a: 1\n", ".config-server/schemas/pay.json": b'{"properties": {"a": {"type": "string"}}}'})
@example({"pay.yml": b"a: &a [x, x]\n" + b"b: [*a, *a, *a, *a]\n" * 2000})
@example({"pay.properties": b"", ".config-server/schemas/pay.json": b'{"$ref": "none.json"}'})
@example({f"{stem}.yml": b"a: ${b}\nb: ${a}\n" for stem in STEMS})
def test_any_tree_is_put_together_or_refused_by_the_name_of_a_file(files: dict[str, bytes]) -> None:
    with checkout(files) as directory:
        folder = Folder(directory)
        told: list[tuple[Effective | BadConfiguration, set[str]]] = []
        assert cost(lambda: told.append((loaded(folder), places(directory))), bound=BOUND) < BOUND
        found, wrong = told[0]
    assert all(path in files or path.startswith(SCHEMA_FOLDER) for path in wrong)  # one that another refers to
    if isinstance(found, BadConfiguration):
        assert found.path in files
        assert len(found.reason) <= 1000
    else:
        assert decode(encode(found)) == found
        assert fingerprint(found)
        assert FORMATS["json"].render(as_written(found.values))
