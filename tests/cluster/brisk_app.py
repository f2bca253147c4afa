"""The server's WSGI application as wsgi.py makes it, on shorter durations; and it tells how many greenlets live."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import replace
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gevent import Greenlet

from app import create_app
from app.settings import Settings, Timings
from tests.cluster.stack import GREENLETS


def counting(served: WSGIApplication) -> WSGIApplication:
    """`served`, and the number of this worker's living greenlets at a path that the application itself has not."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != GREENLETS:
            return served(environ, start_response)
        living = sum(1 for each in gc.get_objects() if isinstance(each, Greenlet) and not each.dead)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(living).encode()]

    return serve


app = create_app(replace(Settings.from_env(), timings=Timings(heartbeat=1, stream_write=1, drain=1)))
app.wsgi_app = counting(app.wsgi_app)  # type: ignore[method-assign, assignment]  # as Flask's documentation tells to
