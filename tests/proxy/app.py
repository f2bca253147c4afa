"""The server's WSGI application with a heart that does not beat within a test, and an end that comes soon."""

from dataclasses import replace

from app import create_app
from app.settings import Settings, Timings

app = create_app(replace(Settings.from_env(), timings=Timings(drain=1, heartbeat=3600)))
