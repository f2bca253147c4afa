"""`python -m config_client run`: gives any program its configuration, and tells it when that changes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from config_client.errors import ConfigError
from config_client.run import Plan, run
from config_client.tokens import TokenSource

URL, TOKEN, TOKEN_FILE = "CONFIG_CLIENT_URL", "CONFIG_CLIENT_TOKEN", "CONFIG_CLIENT_TOKEN_FILE"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    given, command = parser.parse_args(words[:cut]), words[cut + 1 :]
    if not command:
        parser.error("no command: config_client run SERVICE --env ENV -- CMD")
    if not given.server:
        parser.error(f"no server: --server URL, or the environment variable {URL}")
    plan = Plan(
        server=given.server,
        service=given.service,
        env=given.env,
        label=given.label,
        token=_token(parser, given.token_file),
        command=tuple(command),
        prefix=given.prefix,
        file=given.file,
        on_change=given.on_change,
        signal=_signal(parser, given.signal),
        grace=given.grace,
        cache_dir=given.cache_dir,
        keep_out=frozenset({TOKEN}),
    )
    try:
        return run(plan)
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"config_client: {error}\n")
        return 69  # EX_UNAVAILABLE of sysexits.h
    except OSError as error:
        sys.stderr.write(f"config_client: {error}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126  # as a shell says it of a command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config_client", description=__doc__)
    about = "run a command with a configuration, and restart or signal it on change"
    usage = "python -m config_client run SERVICE --env ENV [options] -- CMD ..."
    run = parser.add_subparsers(required=True).add_parser("run", help=about, description=about, usage=usage)
    add = run.add_argument
    add("service")
    add("--env", required=True)
    add("--label", default="", help="a branch, tag or commit; the server's default one otherwise")
    add("--server", default=os.environ.get(URL, ""), metavar="URL", help=f"or {URL}")
    add("--token-file", type=Path, metavar="FILE", help=f"read again each time; or {TOKEN_FILE}, or {TOKEN} for a text")
    add("--prefix", default="", help="before the names of the variables")
    add("--file", type=Path, help="write the configuration there (JSON; .env: variables) instead of the environment")
    add("--on-change", choices=("restart", "signal", "nothing"), default="restart")
    add("--signal", default="HUP", help="which, for --on-change signal")
    add("--grace", type=float, default=10.0, help="seconds between SIGTERM and SIGKILL at a restart")
    add("--cache-dir", type=Path, help="keep the last configuration there, for a start without a server")
    return parser


def _token(parser: argparse.ArgumentParser, file: Path | None) -> TokenSource:
    if file is not None or os.environ.get(TOKEN_FILE):
        return file or Path(os.environ[TOKEN_FILE])
    if not os.environ.get(TOKEN):
        parser.error(f"no token: --token-file FILE, {TOKEN_FILE} or {TOKEN}")
    return os.environ[TOKEN]


def _signal(parser: argparse.ArgumentParser, name: str) -> signal.Signals:
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        parser.error(f"no such signal: {name}")


if __name__ == "__main__":
    sys.exit(main())
