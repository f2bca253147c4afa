"""The server's WSGI application on shorter durations: what takes it minutes otherwise happens several times a run."""

from dataclasses import replace

from app import create_app
from app.settings import Settings, Timings

TIMINGS = Timings(
    heartbeat=2, stream_write=2, drain=1, confirm_rewrite=0.3, head_check=1, redis_pause=0.5, stream_age=8
)

app = create_app(replace(Settings.from_env(), timings=TIMINGS))
