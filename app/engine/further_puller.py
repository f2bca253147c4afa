"""The puller of a further repository: its labels are announced beside those of the configuration repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from app.engine.puller import Before, OnFetched, OnHistory, Puller, Telling
from app.engine.vouched import Vouching
from app.model import OF, Refs
from app.notify import Cursor, Fetched, HostState, LabelHead, now_text
from app.repository import FurtherRepository, GitConfigBackend
from app.scheduler import Outcome


class FurtherPuller(Puller):
    """As Puller. It begins no numbering: which heads of the configuration repository are to stand in a new one is known
    to who has fetched it. `wake` has its puller do so."""

    def __init__(
        self,
        described: FurtherRepository,
        repository: GitConfigBackend,
        telling: Telling,
        *,
        confirm_after: float,
        pin_days: float,
        on_history: OnHistory,
        on_fetched: OnFetched,
        vouching: Vouching,
        wake: Callable[[], None],
    ) -> None:
        self.name = described.name
        super().__init__(
            repository,
            telling,
            default_label=described.label,
            confirm_after=confirm_after,
            pin_days=pin_days,
            on_history=on_history,
            on_fetched=on_fetched,
            vouching=vouching,
        )
        self._label = described.label
        self._wake = wake

    def _tell_everybody(self, before: Before, refs: Refs) -> tuple[Outcome, Cursor | None]:
        return self._tell_this_host(refs) if before.lost else super()._tell_everybody(before, refs)

    def _tell_this_host(self, refs: Refs) -> tuple[Outcome, Cursor | None]:
        """Numbered by this host alone where its puller of the configuration repository has begun to, or cannot."""
        telling = self._telling
        stuck = telling.state is not None and telling.state.git_failing_since is not None
        if telling.alone is None and not stuck:
            self._wake()
            return Outcome.FAILED, None
        return super()._tell_this_host(refs)

    def _is_mine(self, label: str) -> bool:
        return label.startswith(self._prefix)

    def _of_mine(self, cursor: Cursor | None) -> Cursor | None:
        if cursor is None:
            return None
        labels: Mapping[str, LabelHead] = {
            label.removeprefix(self._prefix): head for label, head in cursor.labels.items() if self._is_mine(label)
        }
        return replace(cursor, default_label=self._label, labels=labels)

    def _answered(self, hint: int) -> int:
        state = self._telling.state
        return state.further[self.name].hint if state is not None and self.name in state.further else hint

    def _succeeded(self, state: HostState, former: HostState | None) -> HostState:
        """What it says of the configuration repository is as it was."""
        further = {**(former.further if former else {}), self.name: Fetched(None, state.hint, state.withheld)}
        if former is None:
            return replace(state, hint=0, withheld={}, further=further)
        return replace(former, cursor=state.cursor, seen=state.seen, further=further)

    def _failed(self, state: HostState, hint: int) -> HostState:
        former = state.further.get(self.name, Fetched())
        since = former.failing_since or now_text()
        return replace(state, further={**state.further, self.name: replace(former, failing_since=since, hint=hint)})

    def _standing_default(self, before: Cursor) -> str:
        return f"{self.name}{OF}{self._label}"
