"""The WSGI application of gunicorn (config/gunicorn.conf.py starts its threads in each worker)."""

from app import create_app
from app.settings import Settings

app = create_app(Settings.from_env())
