"""Webhooks that we receive: a signed word that something was pushed. A hint to fetch; nothing in it is trusted.

The law: whoever tells us waits for nothing; a thousand words are few fetches; what a word announces is only looked
for in what the configured repository itself has given.
"""

from app.hooks.arrivals import Arrivals
from app.hooks.forges import Announced, Word, is_push, is_signed, word

__all__ = ["Announced", "Arrivals", "Word", "is_push", "is_signed", "word"]
