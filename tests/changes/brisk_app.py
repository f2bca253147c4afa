"""The server's WSGI application as wsgi.py makes it; a push that was broken off is given up within a second."""

from __future__ import annotations

from dataclasses import replace

from app import create_app
from app.settings import Settings, Timings

app = create_app(replace(Settings.from_env(), timings=Timings(settle=1)))
