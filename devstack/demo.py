"""`make run`: starts everything for real, prints commands to paste, and ends everything on Ctrl-C."""

from __future__ import annotations

import fcntl
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.markup import escape

from devstack.check import Check, show
from devstack.commands import commands
from devstack.processes import NotReady, end_children, end_left_in
from devstack.server import ROOT
from devstack.stack import Stack

RUN = ROOT / ".run"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How soon an interrupt that was not heard comes again, in seconds.
AGAIN = 0.5


@click.command()
@click.option("--check", is_flag=True, help="Run the printed commands, measure deliveries, and end: 0 if all is well.")
@click.option("--keep", is_flag=True, help="Keep the configuration repository of the last run.")
@click.option("--port", default=8000, show_default=True, help="The server's port; another one if it is taken.")
@click.option("--directory", default=RUN, type=click.Path(path_type=Path), help="Where everything lives; wiped first.")
def main(check: bool, keep: bool, port: int, directory: Path) -> None:
    """Run the configuration server with everything around it, on this machine only."""
    console = Console(highlight=False, soft_wrap=True)
    _interruptible()
    code = 0
    try:
        with _held(directory):
            if left := end_left_in(directory):
                console.print(f"Ended {left} processes that an earlier demo had left behind.")
            code = _run(console, Stack(directory.resolve(), port=port, keep=keep), check=check)
    except NotReady as problem:
        console.print(escape(str(problem)), style="red")
        code = 1
    sys.exit(code)


def _run(console: Console, stack: Stack, *, check: bool) -> int:
    try:
        _start(console, stack)
        if check:
            return 0 if show(console, Check(stack).run()) else 1
        _show_commands(console, stack)
        return _wait(console, stack)
    except KeyboardInterrupt:
        return 0 if not check else 130
    finally:
        _heard()
        with console.status("Stopping ..."):
            stack.close()
            end_children()
        console.print("Everything is stopped.")


def _start(console: Console, stack: Stack) -> None:
    began = time.monotonic()
    with console.status("Starting ...") as status:

        def tell(name: str, where: str) -> None:
            console.print(f"[green]ready[/green] {escape(name)}  [dim]{escape(where)}[/dim]")
            status.update(f"Starting ... {time.monotonic() - began:.0f} s")

        stack.start(tell)
    console.print(f"Up after {time.monotonic() - began:.1f} s.\n")


def _show_commands(console: Console, stack: Stack) -> None:
    console.print("Tokens (also in .run/tokens/):" if stack.run == RUN else f"Tokens (also in {stack.tokens}):")
    for name in ("payment-service", "admin", "dashboard"):
        console.print(f"  [bold]{name}[/bold]\n  {escape((stack.tokens / name).read_text())}")
    console.print("\nPaste these in another terminal, in this folder:")
    for command in commands(stack):
        console.print(f"\n[bold]# {escape(command.title)}[/bold]")
        console.print(command.text, markup=False)
    console.print(f"\nThe API for people: {stack.server.url}/docs   The server's log: {stack.server.log}")
    console.print("Ctrl-C stops everything.")


def _wait(console: Console, stack: Stack) -> int:
    """Until Ctrl-C, or until the server ends by itself, which is a failure."""
    while stack.server.running:
        time.sleep(0.5)
    console.print(f"The server has ended:\n{escape(stack.server.output())}", style="red")
    return 1


def _interruptible() -> None:
    """Ctrl-C, SIGTERM and a closed terminal all end it in order, and a second one does not disturb the ending.

    An exception may be raised where nobody can catch it (in a finalizer, say): so it comes again until it is heard.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for name in SIGNALS:
            signal.signal(name, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    for name in (*SIGNALS, signal.SIGALRM):
        signal.signal(name, interrupt)


def _heard() -> None:
    """The ending has begun: nothing disturbs it now."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for name in (*SIGNALS, signal.SIGALRM):
        signal.signal(name, signal.SIG_IGN)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """One demo at a time in one directory. Raises NotReady."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NotReady(f"a demo is running in {directory} already; stop it first") from error
        yield


if __name__ == "__main__":
    main()
