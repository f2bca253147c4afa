"""As many requests as are answered: wrk's, or those of a small client of our own where there is no wrk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from bench.requester import Plan, run

CONNECTIONS = 16
#: A Lua script gets the requests as they are and says what was answered; a status over 399 is an error.
_SCRIPT = """\
local requests = {{ {requests} }}
local at = 0
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("answered %d in %d failed %d", summary.requests, summary.duration, failed))
end
"""


def client() -> str:
    """Who asks, for the table."""
    return "wrk" if shutil.which("wrk") else "a client of our own: there is no wrk here"


def rate(port: int, requests: Sequence[str], seconds: float) -> float:
    """Answers a second, over kept connections. Raises RuntimeError when one is an error."""
    if shutil.which("wrk"):
        return _wrk(port, requests, seconds)
    told = run(Plan(port, requests, seconds, connections=CONNECTIONS))
    if set(told.statuses) - {"200", "304"}:
        raise RuntimeError(f"the requests were answered with {dict(told.statuses)}")
    return told.rate


def _wrk(port: int, requests: Sequence[str], seconds: float) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(requests=", ".join(json.dumps(each) for each in requests)))
        script.flush()
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "-s", script.name]
        command = [*_on_last_core(), "wrk", *options, f"http://127.0.0.1:{port}"]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout  # noqa: S603 - ours
    found = re.search(r"answered (\d+) in (\d+) failed (\d+)", output)
    if found is None or found[3] != "0":
        raise RuntimeError(f"wrk says: {output[-500:]}")
    return int(found[1]) / int(found[2]) * 1_000_000


def _on_last_core() -> list[str]:
    return ["taskset", "-c", str((os.cpu_count() or 1) - 1)] if shutil.which("taskset") else []
