"""What a push told, from its own output."""

from __future__ import annotations

import pytest

from app.repository.rejection import Verdict, verdict_of

REF = "1111:refs/heads/main"


@pytest.mark.parametrize(
    ("output", "errors", "verdict"),
    [
        (f"To x\n \t{REF}\t1..2\nDone\n", "", Verdict(pushed=True, sent=True)),
        (f"To x\n=\t{REF}\t[up to date]\nDone\n", "", Verdict(pushed=True, sent=True)),
        (f"To x\n!\t{REF}\t[rejected] (stale info)\n", "", Verdict(moved=True, sent=True)),
        (f"To x\n!\t{REF}\t[rejected] (fetch first)\n", "", Verdict(moved=True, sent=True)),
        (f"To x\n!\t{REF}\t[remote rejected] (failed to update ref)\n", "", Verdict(moved=True, sent=True)),
        (
            f"To x\n!\t{REF}\t[remote rejected] (failed)\n",
            "remote: error: cannot lock ref 'refs/heads/main': is at 2 but expected 1",
            Verdict(moved=True, sent=True),
        ),
        (f"To x\n!\t{REF}\t[remote failure] (remote failed to report status)\n", "", Verdict(sent=True)),
        ("", "fatal: unable to access", Verdict()),
        (
            f"To x\n!\t{REF}\t[remote rejected] (protected branch hook declined)\n",
            "remote: Resolving deltas: 100%\nremote: \nremote: GitLab: You are not allowed to push\nTo https://x",
            Verdict(words="protected branch hook declined; GitLab: You are not allowed to push", sent=True),
        ),
        (
            f"To x\n!\t{REF}\t[remote rejected] (declined)\n",
            "remote: see https://u:p@h/x?token=1\nremote: ask ops@h.example:x \x1b[1m\n"
            "remote: Authorization: Bearer abc",
            Verdict(
                words="declined; see [address]; ask [address] \\u001b[1m; Authorization: Bearer [redacted]", sent=True
            ),
        ),
    ],
)
def test_verdict_of_a_push(output: str, errors: str, verdict: Verdict) -> None:
    assert verdict_of(output, errors) == verdict
