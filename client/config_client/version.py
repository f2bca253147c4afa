"""The version of this client, as the operator's list of instances shows it."""

from __future__ import annotations

__version__ = "0.1.0"
USER_AGENT = f"config-client/{__version__}"
