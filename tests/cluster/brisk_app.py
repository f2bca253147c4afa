"""The server's WSGI application as wsgi.py makes it, on shorter durations."""

from dataclasses import replace

from app import create_app
from app.settings import Settings, Timings

app = create_app(replace(Settings.from_env(), timings=Timings(heartbeat=1, stream_write=1)))
