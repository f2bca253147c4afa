"""The history of a target, wherever it is read from: each repository has one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.engine.history import History, Page
from app.engine.world import Head
from app.errors import NotOffered
from app.model import Target, parts_of


class Histories:
    """See History. `further` are those of further repositories, which know nothing of each other."""

    def __init__(self, main: History, further: Mapping[str, History]) -> None:
        self._main = main
        self._further = further

    def page(self, head: Head, target: Target, *, protected: bool, after: str | None, limit: int) -> Page:
        """As History.page. Raises NotOffered for what several repositories are put together to."""
        if not target.is_further:
            return self._main.page(head, target, protected=protected, after=after, limit=limit)
        (name, label), *others = parts_of(target.label)
        if others:
            raise NotOffered("this configuration is put together from several repositories: each has its own history")
        (_, commit), *_ = parts_of(head.commit)
        its_own = replace(head, label=label, commit=commit, former=())
        its_target = Target(target.service, target.envs, label)
        return self._further[name].page(its_own, its_target, protected=protected, after=after, limit=limit)
