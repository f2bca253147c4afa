"""The client of Config Server: one configuration, always the newest that is good, never away because the server is.

`ConfigClient` is for asyncio, `SyncConfigClient` for threads. Nothing is global; logging goes to `config_client`.
"""

from config_client.aio import ConfigClient
from config_client.errors import (
    BindingError,
    ConfigError,
    ConfigRefused,
    ConfigRejected,
    ConfigUnavailable,
    TokenUnavailable,
)
from config_client.reading import Live
from config_client.snapshot import Change, Snapshot
from config_client.threads import SyncConfigClient
from config_client.timings import Timings
from config_client.version import __version__

__all__ = [
    "BindingError",
    "Change",
    "ConfigClient",
    "ConfigError",
    "ConfigRefused",
    "ConfigRejected",
    "ConfigUnavailable",
    "Live",
    "Snapshot",
    "SyncConfigClient",
    "Timings",
    "TokenUnavailable",
    "__version__",
]
