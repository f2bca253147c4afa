"""The server's WSGI application as wsgi.py makes it, on other durations; and it tells how many greenlets live."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from gevent import Greenlet

from app import create_app
from app.settings import Settings, Timings
from tests.cluster.stack import GREENLETS


def timed(**seconds: Any) -> Flask:
    """For gunicorn, which takes a call with constants for the name of an application."""
    app = create_app(replace(Settings.from_env(), timings=Timings(**seconds)))
    app.wsgi_app = counting(app.wsgi_app)  # type: ignore[method-assign, assignment]  # as Flask's documentation tells to
    return app


def counting(served: WSGIApplication) -> WSGIApplication:
    """`served`, and the number of this worker's living greenlets at a path that the application itself has not."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != GREENLETS:
            return served(environ, start_response)
        living = sum(1 for each in gc.get_objects() if isinstance(each, Greenlet) and not each.dead)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"worker": os.getpid(), "living": living}).encode()]

    return serve
