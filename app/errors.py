"""The errors of the server; they know no HTTP (blueprints/problems.py maps them, once).

ConfigServerError
├── BadInput                    the caller's request is wrong, `field` names the part
├── Unauthenticated             no token, or one that does not verify
├── Forbidden                   a good token without the grant; also what must not be told apart from it
├── NotFound
│   ├── UnknownLabel            no branch, tag or reachable commit of that name
│   ├── UnknownTarget           an env outside ENVS, a service nobody configured (ACCEPT_EMPTY=false)
│   ├── UnknownKey              `key=` names nothing in the configuration
│   └── UnknownFile             no such plain file for this target
├── Conflict                    what the request builds upon has moved; `plan` is a fresh one
├── Frozen                      changes are frozen just now (.config-server/freeze.toml)
├── NotOffered                  this server is not set up for it (no credentials to write)
├── Unprocessable               understood, and cannot be served; nothing good is left
│   ├── BadConfiguration        a file does not parse, fold or validate: file, line, reason
│   │   └── SchemaViolation     a value is not what the repository's schema allows: key and rule too
│   ├── SecretRefused           a reference breaks grammar or policy, or Vault says 403/404: names the property
│   ├── FormatCollision         two keys become one in the format asked for
│   ├── WouldBreak              a change would take the configuration of some targets away: names them
│   └── PushRejected            the remote refuses the commit, in its own words
├── Unavailable                 try again later, `retry_after` seconds
│   ├── RepositoryUnavailable   Git does not answer and there is no clone
│   ├── SecretsUnavailable      Vault does not answer and nothing usable is cached
│   ├── BusUnavailable          Redis does not answer
│   ├── AuditUnavailable        the audit trail cannot be written, so nothing that needs it is done
│   ├── Behind                  this host has not caught up with the rev the caller has seen
│   ├── TooManyAttempts         this address has failed too often to show who it is
│   └── Overloaded              a limit of this worker is reached
│       └── TooManyStreams      a limit of this client is reached
└── SettingsError               the environment does not make a server; lists every problem
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ConfigServerError(Exception):
    """Base of all errors. `str(error)` is safe to show: never a secret, a Vault path or a path of this machine."""

    def __copy__(self) -> ConfigServerError:
        """The same error without its traceback, for who shares one failure with several callers."""
        twin = type(self).__new__(type(self))
        twin.args = self.args
        twin.__dict__.update(self.__dict__)
        return twin


class BadInput(ConfigServerError):
    """The request is wrong. `field` is the name of the query, path or body part at fault."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Unauthenticated(ConfigServerError):
    """No token, or a token that does not verify (RFC 6750)."""


class Forbidden(ConfigServerError):
    """The token is good; the grant is missing."""


class NotFound(ConfigServerError):
    """What was asked for does not exist."""


class UnknownLabel(NotFound):
    """No branch, tag, or commit reachable from one, has this name."""


class UnknownTarget(NotFound):
    """The env is not one of ENVS, or nothing configures the service and ACCEPT_EMPTY is off."""


class UnknownKey(NotFound):
    """`key=` names nothing in this configuration."""


class UnknownFile(NotFound):
    """No such plain file for this target."""


class Unprocessable(ConfigServerError):
    """Understood, but it cannot be served, and there is no older good version to serve instead."""


class BadConfiguration(Unprocessable):
    """A configuration file does not parse, fold or validate.

    `path` is the file in the configuration repository, `line` counts from 1 (None when it has none).
    """

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class SchemaViolation(BadConfiguration):
    """A value is not what a JSON Schema of the repository allows.

    `schema` is the rule, as the schema's file and a JSON pointer in it; `key` the key path of the value.
    """

    def __init__(self, path: str, line: int | None, reason: str, schema: str, key: str) -> None:
        super().__init__(path, line, reason)
        self.schema = schema
        self.key = key


class SecretRefused(Unprocessable):
    """A secret reference is malformed, against policy, denied or missing; all four look alike to the caller.

    `keys` are the properties that hold the references, as key paths (`db.password`).
    """

    def __init__(self, keys: Sequence[str], reason: str = "the secret reference is not allowed or not found") -> None:
        super().__init__(f"{', '.join(keys)}: {reason}")
        self.keys = tuple(keys)
        self.reason = reason


class FormatCollision(Unprocessable):
    """Two keys of the configuration become one name in the format asked for."""


class WouldBreak(Unprocessable):
    """The change is refused whole: with it some targets could not be served. `plan` names them, and why."""

    def __init__(self, topics: Sequence[str], plan: Mapping[str, object]) -> None:
        super().__init__(f"the change would break {', '.join(topics[:10])}{' and more' if len(topics) > 10 else ''}")
        self.plan = plan


class PushRejected(Unprocessable):
    """The repository refuses the commit (a hook, a protected branch). The detail is in its own words."""


class Conflict(ConfigServerError):
    """What the request builds upon has moved meanwhile. `plan`, if there is one, is made on what is there now."""

    def __init__(self, detail: str, plan: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.plan = plan


class Frozen(ConfigServerError):
    """Changes are frozen for an env that this one concerns. `override` with a reason goes through, and is audited."""


class NotOffered(ConfigServerError):
    """This server is not set up for it: it has no credentials to write to the repository, or only reads another one."""


class Unavailable(ConfigServerError):
    """Temporarily impossible. `retry_after` is in seconds."""

    def __init__(self, detail: str, retry_after: float = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class RepositoryUnavailable(Unavailable):
    """Git does not answer (refresh), or there is no clone yet (read)."""


class SecretsUnavailable(Unavailable):
    """Vault is unreachable, sealed, throttling or failing, and nothing usable is cached."""


class BusUnavailable(Unavailable):
    """Redis does not answer within its timeout."""


class AuditUnavailable(Unavailable):
    """The audit trail cannot be written (full disk); what must not happen unrecorded does not happen."""


class Behind(Unavailable):
    """The caller has seen a newer rev of this epoch than this host could reach in time."""


class TooManyAttempts(Unavailable):
    """This address has failed too often in this minute to show who it is. A good token is answered all the same."""


class Overloaded(Unavailable):
    """A limit of this worker or client is reached."""


class TooManyStreams(Overloaded):
    """This client holds as many streams as it may."""


class SettingsError(ConfigServerError):
    """Missing or wrong settings, all of them at once, one per line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("The settings do not make a server:\n" + "\n".join(f"  - {p}" for p in problems))
        self.problems = tuple(problems)


def code_of(failure: ConfigServerError) -> str:
    """The error's name as the wire writes it: UnknownLabel -> unknown-label. A subclass elsewhere is its base."""
    name = next(kind.__name__ for kind in type(failure).__mro__ if kind.__module__ == __name__)
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
