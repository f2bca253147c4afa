"""What the image's health check asks: whether the server answers on its own port. Exits with 1 if it does not."""

import os
import sys
import urllib.request

port = os.environ.get("CONFIG_SERVER_BIND", "0.0.0.0:8000").rpartition(":")[2]
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2) as answer:
        sys.exit(answer.status != 200)
except OSError as problem:
    sys.exit(f"the server does not answer: {problem}")
