"""Real parts for the demo and the tests: Git origin, Valkey, OpenBao, identity provider, gunicorn.

The law: each part is a class with `start()` and `close()`, listens on loopback only, and ends only what it started
itself. Nothing here imports `app`; the server is spoken to as everybody else does.
"""
