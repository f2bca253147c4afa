"""The site's hook: links that lead out of docs/ have no page there, and become links into the repository, or text."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[2]))
        if target.startswith("docs/"):
            return match[0]
        return f"[{match[1]}]({config.repo_url.rstrip('/')}/{target})" if config.repo_url else match[1]

    return _LINK.sub(led, markdown)
