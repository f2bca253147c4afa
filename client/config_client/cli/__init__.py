"""`configctl`, for people. Law: data on stdout, talk on stderr; no change without a plan that was shown."""

from __future__ import annotations

import sys

#: What ends with it: 0 well, 1 the question's answer is no (or: it differs), 2 wrong use, 3 the server said no.
SAME, DIFFERENT, USAGE, FAILED = 0, 1, 2, 3


def main() -> None:
    """The program."""
    try:
        import click  # noqa: F401 - whether it is there
        import rich  # noqa: F401
    except ImportError:
        sys.stderr.write("configctl needs more than the library: pip install 'config-server-client[cli]'\n")
        sys.exit(USAGE)
    from config_client.cli.commands import configctl

    configctl(prog_name="configctl")
