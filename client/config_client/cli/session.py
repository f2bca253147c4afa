"""One run of configctl: which server, how to print, and how it ends when something is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from config_client.cli import FAILED, USAGE, show
from config_client.cli.api import Api, Refused
from config_client.cli.profiles import Profile, chosen
from config_client.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "json", "yaml")


@dataclass(slots=True)
class Session:
    """What the options before the command say. `how` is set by each command's own option."""

    server: str
    token_file: Path | None
    profile: str
    how: str = "table"
    _api: Api | None = None

    def chosen(self) -> Profile:
        """Raises ValueError."""
        return chosen(self.server, self.token_file, self.profile)

    @property
    def api(self) -> Api:
        """Raises ValueError, OSError."""
        if self._api is None:
            profile = self.chosen()
            self._api = Api(profile.server, profile.token())
        return self._api

    def close(self) -> None:
        if self._api is not None:
            self._api.close()

    def fail(self, error: Exception) -> int:
        """Tell it; the exit code."""
        refused = error if isinstance(error, Refused) else None
        problem: dict[str, Any] = dict(refused.problem) if refused else {"detail": str(error)}
        if self.how == "json":
            sys.stderr.write(json.dumps({"status": refused.status if refused else 0, **problem}) + "\n")
            return FAILED if refused else USAGE
        show.say(str(error), "red")
        if refused and problem.get("plan"):
            show.plan(problem["plan"])
        return FAILED if refused else USAGE


def command(group: click.Group, *outputs: str, name: str = "") -> Callable[[F], F]:
    """A command of `group` that is given the session first. `outputs` are what its -o offers, the default first."""

    def registered(body: F) -> F:
        @wraps(body)
        @click.pass_obj
        def run(session: Session, /, **options: Any) -> None:
            session.how = options.pop("how", "table")
            try:
                code = body(session, **options)
            except (Refused, ConfigError, ValueError, OSError) as error:
                code = session.fail(error)
            finally:
                session.close()
            sys.exit(code or 0)

        if outputs:
            kinds = click.Choice(outputs)
            click.option("-o", "--output", "how", type=kinds, default=outputs[0], show_default=True)(run)
        group.command(name or body.__name__.replace("_", "-"))(run)
        return body

    return registered


def confirmed(yes: bool, question: str) -> bool:
    """Whether to go on. Raises ValueError where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ValueError("nobody can be asked here: say --yes")
    return click.confirm(question, err=True)
