"""The wiring of the trail: this worker's chain, what is counted into it, where it is carried, how it is read back."""

from __future__ import annotations

import os
import time
from functools import cached_property

from app.audit import Anchors, AuditAggregate, AuditTrail, AuditView, RedisSharedTrail, Shipper, made_host
from app.cache import RedisLink
from app.observability import Metrics
from app.settings import Settings


class Auditing:
    """Each part made at its first use; making one starts nothing. `link` None: the trail stays on this host."""

    def __init__(self, settings: Settings, metrics: Metrics, link: RedisLink | None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._link = link

    @cached_property
    def trail(self) -> AuditTrail:
        slot = os.environ.get("CONFIG_SERVER_WORKER_SLOT", "0")
        return AuditTrail(
            self._settings.audit_path,
            chain=f"worker-{slot}",
            clock=time.time,
            file_bytes=self._settings.audit_file_mib << 20,
            on_written=self._metrics.count_audit,
            on_failure=self._metrics.count_audit_failure,
        )

    @cached_property
    def aggregate(self) -> AuditAggregate:
        return AuditAggregate(self.trail.record, time.time, seconds=self._settings.timings.audit_minute)

    @cached_property
    def shared(self) -> RedisSharedTrail | None:
        if self._link is None:
            return None
        return RedisSharedTrail(self._link, self.host, records=self._settings.audit_stream_records)

    @cached_property
    def shipper(self) -> Shipper | None:
        """None without Redis: then there is one worker, and no other chain to anchor."""
        if self.shared is None:
            return None
        timings = self._settings.timings
        return Shipper(
            self.shared,
            self._settings.audit_path,
            lambda: self.trail.end,
            Anchors(self.trail.record, self.host),
            seconds=timings.audit_ship,
            anchor_seconds=timings.audit_anchor,
            records=self._settings.audit_stream_records,
        )

    @cached_property
    def view(self) -> AuditView:
        return AuditView(self._settings.audit_path, self.host, self.shared)

    def host(self) -> str:
        """Raises OSError when the disk takes nothing."""
        return self._host

    @cached_property
    def _host(self) -> str:
        return made_host(self._settings.audit_path)
