"""Runs what the demo prints, as a newcomer would, and measures the deliveries that it promises."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from devstack.commands import ROTATED, TARGET, Command, Kind, commands
from devstack.deliveries import Undelivered, measure
from devstack.origin import git
from devstack.processes import plain_environment
from devstack.server import ROOT
from devstack.stack import Stack

#: How long a commit may take from the refresh to a client, in seconds.
BOUND = 1.0
_PATIENCE = 60.0  # seconds until a command that should answer has failed
#: How often deliveries are measured before they are held to be late: what else the machine does is not their doing.
_ATTEMPTS = 3
_PAUSE = 0.05  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Result:
    what: str
    ok: bool
    detail: str = ""


class Pasted:
    """A command in a shell of its own, in the project's folder, as if pasted into a terminal."""

    def __init__(self, command: Command, output: Path) -> None:
        self.command = command
        self._output = output
        with output.open("wb") as out:
            self._process = subprocess.Popen(
                ["sh", "-c", command.text],
                cwd=ROOT,
                env=plain_environment(without=("BAO_", "VAULT_", "GIT_")),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def ended(self, *, within: float) -> Result:
        """Wait for its end; it succeeded, and said what was expected."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return Result(self.command.title, False, f"no end within {within:g} s; said: {self.said[-500:]}")
        ok = code == 0 and re.search(self.command.expect, self.said) is not None
        return Result(self.command.title, ok, "" if ok else f"exit code {code}; said: {self.said[-500:]}")

    def says(self, pattern: str, *, within: float, what: str = "") -> Result:
        """Wait until its output matches."""
        deadline = time.monotonic() + within
        while not re.search(pattern, self.said):
            if time.monotonic() > deadline:
                detail = f"no {pattern!r} within {within:g} s; said: {self.said[-500:]}"
                return Result(what or self.command.title, False, detail)
            time.sleep(_PAUSE)
        return Result(what or self.command.title, True)

    def close(self) -> None:
        """Ctrl-C."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


class Check:
    """Everything of one run, in order."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._commands = commands(stack)
        self._outputs = stack.run / "check"
        self._outputs.mkdir()

    def run(self) -> Iterator[Result]:
        """The deliveries first, as a webhook makes the server look several times; each result as it is known."""
        yield from self._delivered()
        with ExitStack() as closing:
            watchers = [self._watcher(each, closing) for each in self._of(Kind.FOLLOW)]
            for command in self._of(Kind.ASK):
                yield self._paste(command).ended(within=_PATIENCE)
            # Not before the others have ended: nobody waits longer than the server may hold the question.
            watchers += [self._watcher(each, closing) for each in self._of(Kind.WAIT)]
            yield from self._acted(watchers)

    def _acted(self, watchers: Sequence[Pasted]) -> Iterator[Result]:
        """What changes something, after every watcher watches: all of them see it."""
        following = [each for each in watchers if each.command.kind is Kind.FOLLOW]
        for watcher in following:
            yield watcher.says('"?ts"?:', within=_PATIENCE, what=f"{watcher.command.title}: subscribed")
        for command in self._of(Kind.ACT):
            yield self._paste(command).ended(within=_PATIENCE)
        for watcher in watchers:
            yield watcher.says(watcher.command.expect, within=_PATIENCE)
        for watcher in following:
            yield watcher.says(ROTATED, within=_PATIENCE, what=f"{watcher.command.title}: the rotated secret")

    def _delivered(self) -> Iterator[Result]:
        token = (self._stack.tokens / "payment-service").read_text()
        found: list[Result] = []
        for _ in range(_ATTEMPTS):
            try:
                times = measure(self._stack.server, TARGET, token, change=self._change, refresh=self._refresh)
            except (Undelivered, httpx.HTTPError) as failure:
                found = [Result("deliveries", False, str(failure))]
                break
            found = [_judged(name, seconds) for name, seconds in times.items()]
            if None in times.values() or all(result.ok for result in found):
                break  # what never arrives is no matter of haste
        yield from found

    def _change(self, text: str) -> None:
        work = self._stack.work
        (work / "payment-service-production.properties").write_text(f"announcement={text}\n")
        git(work, "commit", "-qam", "Measure")
        git(work, "push", "-q")

    def _refresh(self) -> None:
        token = (self._stack.tokens / "admin").read_text()
        answer = httpx.post(
            f"{self._stack.server.url}/v1/admin/refresh",
            headers={"Authorization": f"Bearer {token}"},
            timeout=15,
            trust_env=False,
        )
        answer.raise_for_status()

    def _of(self, *kinds: Kind) -> list[Command]:
        return [command for command in self._commands if command.kind in kinds]

    def _watcher(self, command: Command, closing: ExitStack) -> Pasted:
        pasted = self._paste(command)
        closing.callback(pasted.close)
        return pasted

    def _paste(self, command: Command) -> Pasted:
        return Pasted(command, self._outputs / f"{self._commands.index(command):02}.txt")


def _judged(name: str, seconds: float | None) -> Result:
    ok = seconds is not None and seconds <= BOUND
    return Result(name, ok, "never" if seconds is None else f"{seconds:.3f} s after the refresh")


def show(console: Console, results: Iterable[Result]) -> bool:
    """Print each result as it comes, and a summary; whether all is well."""
    count = failed = 0
    for result in results:
        verdict = "[green]ok[/green]    " if result.ok else "[red]FAILED[/red]"
        console.print(f"{verdict} {escape(result.what)}  [dim]{escape(result.detail)}[/dim]")
        count, failed = count + 1, failed + (not result.ok)
    console.print(f"{count} checks, {f'{failed} failed' if failed else 'all well'}.")
    return not failed
