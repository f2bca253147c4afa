"""The commands of configctl, put together."""

from __future__ import annotations

from pathlib import Path

import click

from config_client.cli import changing, looking, sealing, setting_up
from config_client.cli.session import Session
from config_client.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", envvar="CONFIG_CLIENT_URL", default="", metavar="URL", help="Where the config server is.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the token.")
@click.option("--profile", envvar="CONFIGCTL_PROFILE", default="default", show_default=True, help="Which login to use.")
@click.version_option(__version__)
@click.pass_context
def configctl(context: click.Context, server: str, token_file: Path | None, profile: str) -> None:
    """Configuration, as Config Server has it: read it, follow it, change it.

    A TARGET is written SERVICE/ENV. Data goes to stdout, talk to stderr. Exit codes: 0 well, 1 no (or: it differs),
    2 wrong use, 3 the server said no.
    """
    context.obj = Session(server, token_file, profile)


looking.add_to(configctl)
changing.add_to(configctl)
sealing.add_to(configctl)
setting_up.add_to(configctl)
