"""`steward replay`: a past incident decided again, from the audit store or from Kafka, answered for the desk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from console.audit import refusing
from console.desk import Refusal
from infra.clickhouse.past import Past, past_in, past_on
from infra.clickhouse.store import Store
from infra.clickhouse.verify import WholeReader
from infra.replay.again import Rules, begins_of, replay
from infra.settings import ConfigError
from schemas.text import clean

SOURCES = ("clickhouse", "kafka")


@dataclass(frozen=True)
class Replays:
    """console.desk.ReplayPort. `store` None: no audit store is configured. `topics`: a reader for each replay."""

    rules: Rules
    partitions: int
    build: str
    store: Store | None
    topics: Callable[[], WholeReader]

    async def replay(self, incident: str, source: str) -> Mapping[str, Any]:
        """{"ok": bool, "text": ..., ...}; `source` empty: ClickHouse, or Kafka where there is none. Raises Refusal."""
        if source not in ("", *SOURCES):
            raise Refusal("wrong_use", "unknown_source", f"one of {', '.join(SOURCES)}", "source")
        chosen = source or ("clickhouse" if self.store else "kafka")
        try:
            past = await (self._from_store(incident) if chosen == "clickhouse" else self._from_kafka(incident))
            if past is not None:
                return await asyncio.to_thread(self._again, incident, chosen, past)
        except ConfigError as error:
            raise Refusal("unavailable", "misconfigured", str(error)) from None
        text = f"{chosen} knows no incident {clean(incident)[:80]!r}: see `steward incidents`"
        raise Refusal("not_found", "unknown_incident", text, "incident")

    def _again(self, incident: str, source: str, past: Past) -> Mapping[str, Any]:
        report = replay(
            past.raws,
            self.rules,
            cluster_id=past.cluster_id,
            partitions=self.partitions,
            incident=incident,
            build=self.build,
        )
        return {**report.to_dict(), "source": source, "cluster_id": past.cluster_id}

    async def _from_store(self, incident: str) -> Past | None:
        store = self.store
        if store is None:
            raise Refusal("unavailable", "no_audit", "no audit store is configured here: --from kafka", "clickhouse")
        with refusing():
            return await asyncio.to_thread(
                past_in, store, incident, self.partitions, begins_of(self.rules, self.partitions)
            )

    async def _from_kafka(self, incident: str) -> Past | None:
        reader = await asyncio.to_thread(self.topics)
        try:
            with refusing():
                return await past_on(reader, incident, self.partitions)
        finally:
            await reader.close()
