"""The errors of the client. They hold no token and no value of a configuration.

ConfigError
├── ConfigUnavailable   no configuration could be had in time
├── ConfigRefused       the server says no, and asking again does not help
├── ConfigRejected      this program does not take the configuration
├── BindingError        a value does not fit the type that was asked for
└── TokenUnavailable    the token's source gives none
"""

from __future__ import annotations


class ConfigError(Exception):
    """Whatever the client raises of its own."""


class ConfigUnavailable(ConfigError):
    """No configuration could be had in time: the server does not answer, and no document lies on disk."""


class ConfigRefused(ConfigError):
    """The server says no: no grant, no such label, a malformed name. `status` is that of HTTP, `type` the problem's."""

    def __init__(self, text: str, status: int = 0, type: str = "") -> None:
        super().__init__(text)
        self.status, self.type = status, type


class ConfigRejected(ConfigError):
    """The first configuration does not fit what is bound to it."""


class BindingError(ConfigError):
    """A value does not fit the type that was asked for; the text names the key, and not the value."""


class TokenUnavailable(ConfigError):
    """The token's source gives none: a file that is not there, an environment variable that is empty."""
