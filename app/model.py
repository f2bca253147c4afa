"""The frozen values that the rooms hand to each other. No I/O, no behaviour beyond looking at oneself."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.errors import BadInput

Scalar: TypeAlias = str | int | float | bool | None
Json: TypeAlias = Scalar | list["Json"] | dict[str, "Json"]

#: A path into nested configuration: map keys are strings, list positions are integers.
KeyPath: TypeAlias = tuple[str | int, ...]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
COMMIT = re.compile(r"[0-9a-f]{40}")
#: What Git accepts as a branch or tag name, without its option and revision syntax (git-check-ref-format(1)).
LABEL = re.compile(r"(?!.*(\.\.|//|/\.|\.lock(/|$)|@\{))[A-Za-z0-9_][^\x00-\x20\x7f~^:?*\[\\\s]{0,254}(?<![./])")
#: Between a label and the branch that chosen instances get in its place; in no name of either.
CANDIDATE = "~"
#: `NAME:LABEL`, `NAME:COMMIT`, `NAME:PATH`: of a further repository. In no name of a label, nor of a repository.
OF = ":"
#: Between those of several repositories that a target is read from together, the strongest first; neither.
ALSO = "^"
_INVISIBLE = re.compile(r"[\u0080-\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: a service, its envs (the last one ranks highest) and a label that is already resolved.

    Clients of Spring Cloud Config may name several services at once, `a,b`: then `service` is that text.
    """

    service: str
    envs: tuple[str, ...]
    label: str
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.service, self.envs, self.label)))

    def __hash__(self) -> int:
        """Reckoned once: targets are looked up for every subscriber of a change."""
        return self._hash

    @property
    def services(self) -> tuple[str, ...]:
        """One as a rule; the last one ranks highest."""
        return tuple(self.service.split(","))

    @property
    def env(self) -> str:
        return ",".join(self.envs)

    @property
    def is_further(self) -> bool:
        """Whether further repositories answer for it; then `label` says which."""
        return OF in self.label

    @property
    def repositories(self) -> tuple[str, ...]:
        """The names of the further repositories that it is read from, the strongest first; none as a rule."""
        return tuple(name for name, _ in parts_of(self.label)) if self.is_further else ()

    @property
    def asked_label(self) -> str:
        """The label that a reader has asked for, where an instance gets another branch in its place.

        Of several repositories that of the strongest.
        """
        return parts_of(self.label)[0][1] if self.is_further else self.label.partition(CANDIDATE)[0]

    @property
    def is_candidate(self) -> bool:
        """Whether it is what chosen instances get in place of another."""
        return CANDIDATE in self.label

    @property
    def candidate(self) -> str:
        """The branch that they get; "" for what all get."""
        return self.label.partition(CANDIDATE)[2]

    @property
    def topic(self) -> str:
        """`service/env/label`, what a stream subscribes to."""
        return f"{self.service}/{self.env}/{self.asked_label}"


def parts_of(text: str) -> tuple[tuple[str, str], ...]:
    """(repository, label) of each part of a target's label, or (repository, commit) of a head's commit; the repository
    is "" where no further one is meant."""
    if OF not in text:
        return (("", text),)
    split = (part.partition(OF) for part in text.split(ALSO))
    return tuple((name, rest) for name, _, rest in split)


def together(parts: Iterable[tuple[str, str]]) -> str:
    """The other way round."""
    return ALSO.join(f"{name}{OF}{rest}" if name else rest for name, rest in parts)


def shown_commit(commit: str) -> str:
    """A commit as callers know it: its id alone; of several repositories each one's, with commas between."""
    return ",".join(rest for _, rest in parts_of(commit)) if OF in commit else commit


def checked_service(text: str) -> str:
    if not NAME.fullmatch(text):
        raise BadInput("service", "must match [A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
    return text


def checked_envs(text: str) -> tuple[str, ...]:
    """Split `a,b` into envs. Raises BadInput when one is illegal, repeated, or there are more than 16."""
    envs = tuple(text.split(","))
    if len(envs) > 16 or len(set(envs)) != len(envs):
        raise BadInput("env", "at most 16 different envs, separated by commas")
    if not all(NAME.fullmatch(env) for env in envs):
        raise BadInput("env", "each must match [A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}")
    return envs


def checked_label(text: str) -> str:
    if not LABEL.fullmatch(text) or _INVISIBLE.search(text):
        raise BadInput("label", "is not a branch, tag or 40-hex commit id")
    return text


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stands: file in the repository, document number (from 0), line and column (from 1)."""

    path: str
    document: int
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Blob:
    """An entry of a Tree: Git's mode (100644, 100755, 120000 symlink, 160000 submodule) and blob id (40 hex).

    In a tree of further repositories the id is `NAME:ID`, so that it says whom to ask.
    """

    mode: str
    id: str


@dataclass(frozen=True, slots=True)
class Tree:
    """path -> Blob of one commit; immutable, shared between threads.

    `folders`: where they cannot be read from the paths, because those are not listed, the folders to look in.
    """

    commit: str
    blobs: Mapping[str, Blob]
    folders: frozenset[str] | None = None


class RefKind(enum.StrEnum):
    BRANCH = "branch"
    TAG = "tag"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Refs:
    """The branches and tags of the mirror (name -> commit id, tags peeled) and the remote's default branch, if told."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    default: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as history tells it. `time` is RFC 3339 in UTC. `signed`: it has a signature, which is not checked."""

    id: str
    author: str
    time: str
    message: str
    signed: bool = False


#: What an encrypted value begins with, and in a Reference the alias of the mount that it stands for.
CIPHER = "{cipher}"
#: The alias of a Reference to what Vault's transit engine decrypts; no alias of a mount looks like it.
TRANSIT = "{transit}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A secret reference of section `${vault:alias/seg/seg#key@version}`; `text` is it as written.

    An encrypted value is one too: its alias is CIPHER, and its path what follows that. Of `${transit:KEY#vault:v1:...}`
    the alias is TRANSIT, the path KEY, and the key what is encrypted.
    """

    alias: str
    path: str
    key: str
    version: int | None
    text: str
    #: Of a document that is a source as a whole: where in the value of `key` this stands. None: a file refers to it.
    inside: KeyPath | None = None

    @property
    def is_cipher(self) -> bool:
        """Whether the server's own key decrypts it."""
        return self.alias == CIPHER

    @property
    def is_transit(self) -> bool:
        """Whether Vault decrypts it."""
        return self.alias == TRANSIT

    @property
    def is_encrypted(self) -> bool:
        """Whether the secret stands in the text itself, and not in Vault: it has no versions."""
        return self.is_cipher or self.is_transit


@dataclass(frozen=True, slots=True)
class Template:
    """A leaf that holds secret references: literal texts and References in order.

    A single part that is a Reference is a whole value and keeps the secret's type; else the parts are joined as text.
    """

    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> Iterator[Reference]:
        return (part for part in self.parts if isinstance(part, Reference))

    @property
    def text(self) -> str:
        """The value with its references as written."""
        return "".join(part.text if isinstance(part, Reference) else part for part in self.parts)


#: A leaf or branch of an Effective: like Json, with Templates among the leaves.
Node: TypeAlias = Scalar | Template | list["Node"] | dict[str, "Node"]


@dataclass(frozen=True, slots=True)
class Source:
    """One document of one file, as parsed: nothing expanded, nothing substituted.

    `values` is the document's raw mapping (a top-level list or scalar becomes {"document": ...}); `positions` maps the
    raw KeyPath of every leaf (scalars, empty maps, empty lists) to (line, column), from 1. `activation` is the text of
    spring.config.activate.on-profile, or None. A list of Sources is ordered from strongest to weakest.
    """

    path: str
    document: int
    values: Mapping[str, Json]
    positions: Mapping[KeyPath, tuple[int, int]]
    activation: str | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """The fold of a Target's Sources: values with secret references still in them.

    `origins` and `overridden` are keyed by key path text (`db.pool`, `hosts[0]`, `["x.y"]`), one entry per leaf;
    overridden origins go from the strongest to the weakest. `references` maps each Reference to the key path texts
    that hold it. `paths` are the files that were read, strongest first.
    """

    values: Mapping[str, Node]
    origins: Mapping[str, Origin]
    overridden: Mapping[str, tuple[Origin, ...]]
    references: Mapping[Reference, tuple[str, ...]]
    paths: tuple[str, ...]


class View(enum.StrEnum):
    """`resolved`: secrets filled in. `masked`: each leaf that holds a secret is "******" whole."""

    RESOLVED = "resolved"
    MASKED = "masked"


MASK = "******"


class StaleReason(enum.StrEnum):
    GIT = "git"
    VAULT = "vault"
    INVALID = "invalid"
    SECRET = "secret"  # noqa: S105 - the name of a reason, not a password
    BEHIND = "behind"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Stale:
    """Why an answer may be older than the head. `since` is RFC 3339 in UTC.

    `commit` is the one that is held back, if any, and `detail` what is wrong with it: file, line and reason, or the
    properties whose secret is refused.
    """

    reason: StaleReason
    since: str
    commit: str | None = None
    detail: str | None = None

    def as_json(self) -> dict[str, Json]:
        present = {"since": self.since, "commit": self.commit, "detail": self.detail}
        return {"reason": self.reason.value, **{name: text for name, text in present.items() if text is not None}}


@dataclass(frozen=True, slots=True)
class SecretPath:
    """One secret document in Vault, by the alias of its mount (settings map the alias to mount and KV version)."""

    alias: str
    path: str

    def __str__(self) -> str:
        return f"{self.alias}/{self.path}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret document as read. Plaintext: it lives in process memory only and its repr does not show it.

    `version` is KV v2's version, or for KV v1 the counter of the version map (0 when none was given).
    `stale` is true when Vault did not answer and this is the copy kept for the grace period.
    `digest` is a keyed digest of the data for KV v1, which has no versions to compare; empty for KV v2.
    """

    path: SecretPath
    version: int
    data: Mapping[str, Json] = field(repr=False)
    stale: bool = False
    digest: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission: `config:ACTION[:SERVICE-GLOB[/ENV-GLOB]]`. A missing glob is None (see access/permissions.py)."""

    action: str
    service: str | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for. `expires_at` is Unix seconds; `service`, `env`: those claims."""

    issuer: str
    subject: str
    grants: tuple[Grant, ...]
    expires_at: float
    token_id: str | None = None
    service: str | None = None
    env: str | None = None
