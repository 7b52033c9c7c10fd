"""The audit asked by who acts: how far it holds a ledger. It may be away, and nobody waits for it for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from infra.clickhouse.store import AuditRefused, AuditUnreachable, Store
from infra.runners.books import Witnessed

T = TypeVar("T")
WITHIN_S = 5.0
_log = structlog.get_logger()
# Of an offset that is on record twice, with other bytes, the later row is what the log says now.
_TAILS = """
SELECT cluster_id, argMax((seq, hash, offset, lower(hex(SHA256(raw)))), (offset, recorded_at))
FROM events
WHERE topic = {topic:String} AND partition = {partition:Int32} AND offset >= {since:Int64} AND seq > 0
GROUP BY cluster_id
"""
# A claim lasts for a day at most; two, for hosts whose clocks are not ClickHouse's.
_AUDITED = """
SELECT max(seq)
FROM events
WHERE topic = 'outcomes' AND cluster_id = {cluster:String} AND appended_at > now() - INTERVAL 2 DAY
"""


def _in_a_thread(call: Callable[[], list[tuple[Any, ...]]]) -> Future[list[tuple[Any, ...]]]:
    """One of its own: a server that hangs takes none of those that resolve the names of PDs."""
    pool = ThreadPoolExecutor(1, "witness")
    try:
        return pool.submit(call)
    finally:
        pool.shutdown(wait=False)


class AuditWitness:
    """infra.runners.owner.Witness, and what executors.execute asks. Never raises: what can't be had now is said to be
    unknown, and logged."""

    def __init__(self, store: Store, within_s: float = WITHIN_S) -> None:
        self._store, self._within_s = store, within_s
        self._asking = asyncio.Lock()
        self._last: Future[list[tuple[Any, ...]]] | None = None

    async def tails(self, topic: str, partition: int, since: int) -> Mapping[str, Witnessed] | None:
        asked = {"topic": topic, "partition": partition, "since": since}
        rows = await self._asked(lambda: self._store.query(_TAILS, asked).rows)
        if rows is None:
            return None
        return {
            cluster: Witnessed(int(seq), bytes.fromhex(own), int(offset), bytes.fromhex(sha))
            for cluster, (seq, own, offset, sha) in rows
        }

    async def audited(self, cluster_id: str) -> int:
        """The last seq of this cluster's `outcomes` that the audit holds; 0: none, or it can't be asked now."""
        rows = await self._asked(lambda: self._store.query(_AUDITED, {"cluster": cluster_id}).rows)
        return int(rows[0][0]) if rows else 0

    async def _asked(self, call: Callable[[], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]] | None:
        """Who waits for another's answer loses no time by it; behind a question that got none, nobody waits."""
        try:
            async with self._asking:
                if self._last is not None and not self._last.done():
                    raise TimeoutError("an earlier question is still without an answer")
                self._last = _in_a_thread(call)
                async with asyncio.timeout(self._within_s):
                    return await asyncio.wrap_future(self._last)
        except (AuditRefused, AuditUnreachable, TimeoutError) as error:
            _log.warning("the audit can't be asked", error=str(error) or f"no answer within {self._within_s} s")
            return None
