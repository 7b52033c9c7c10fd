"""What people ask of the audit store, answered for the desk."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from console.desk import Refusal
from infra.clickhouse import checkpoints
from infra.clickhouse.closings import Fold
from infra.clickhouse.export import Wanted, export
from infra.clickhouse.questions import Answer, QuestionRefused, bind, moment, question
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Store
from infra.clickhouse.verify import Examination, Source, WholeReader
from infra.publisher import Unreachable
from schemas.text import clean

T = TypeVar("T")


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What a source has against it, or that it can't be reached, as the desk says it."""
    try:
        yield
    except AuditRefused as error:
        raise Refusal("conflict", "audit_refused", str(error)) from None
    except AuditUnreachable as error:
        raise Refusal("unavailable", "audit_unreachable", str(error)) from None
    except Unreachable as error:
        raise Refusal("unavailable", "kafka_unreachable", str(error)) from None


def _moment(field: str, value: str) -> str:
    try:
        return moment(value)
    except ValueError as error:
        raise Refusal("wrong_use", "bad_params", str(error), field) from None


async def _pages(first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
    page = first
    while page:
        yield page
        page = await asyncio.to_thread(next, rest, b"")


@dataclass(frozen=True)
class Evidence:
    """What a verification goes by beside the table. `topics`: a new reader, to be closed. `directory`: of checkpoints,
    written at most every so many seconds. `folds`: of ledgers, by topic."""

    topics: Callable[[], WholeReader] | None = None
    directory: Path | None = None
    every_s: float = 0
    folds: Mapping[str, Fold] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditAnswers:
    """console.desk.AuditPort over the store, None where there is none. `configured`: the clusters that may have nothing
    on record yet."""

    store: Store | None
    configured: Collection[str] = ()
    evidence: Evidence = Evidence()
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)  # a verification takes memory by the record

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """{"columns": [...], "rows": [[...], ...], "ok": bool}. Raises Refusal."""
        try:
            asked = question(name)
        except QuestionRefused as error:
            raise Refusal("wrong_use", "unknown_question", str(error), "name") from None
        try:
            bound = bind(asked, params)
        except QuestionRefused as error:
            raise Refusal("wrong_use", "bad_params", str(error), "params") from None
        store = self._store()
        await self._knows(params.get("cluster", ""))
        return Answer(asked, await self._asked(lambda: store.query(asked.sql, bound))).to_dict()

    async def verify(self, cluster_id: str, source: Source = "clickhouse") -> Mapping[str, Any]:
        """{"ok": bool, "text": ...}. Raises Refusal."""
        if source != "kafka":
            await self._knows(cluster_id)
        there = self.evidence
        if there.topics is None and source != "clickhouse":
            raise Refusal("unavailable", "no_kafka", "topics are not read here", "source")
        try:
            known = (
                await asyncio.to_thread(checkpoints.read, there.directory, there.every_s)
                if there.directory
                else checkpoints.Known()
            )
        except OSError as error:
            text = f"{there.directory}: {error.strerror or error}"
            raise Refusal("unavailable", "checkpoints_unreadable", text, "audit.checkpoints") from None
        asked = Examination(source, cluster_id or None, known, there.folds)
        with refusing():
            async with self._one:
                verdict = await asked.of(self.store, there.topics or _no_topics)
        if source == "kafka" and asked.knows_nobody(verdict) and cluster_id not in self.configured:
            raise self._unknown(cluster_id)
        return {**verdict.to_dict(), "ok": verdict.ok, "text": verdict.to_text()}

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        """The record as JSON lines, some at a time (infra.clickhouse.export). Raises Refusal where the store does not
        answer; one that falls silent later leaves an export without its last line."""
        given = {"since": since, "until": until}
        times = {name: _moment(name, value) for name, value in given.items() if value}
        await self._knows(cluster_id)
        pages = export(self._store(), Wanted(cluster_id, **times))
        first = await self._asked(lambda: next(pages, b""))
        return _pages(first, pages)

    async def _knows(self, cluster_id: str) -> None:
        """Of a name that was mistyped, nothing on record would look like nothing wrong."""
        store = self._store()
        if not cluster_id or cluster_id in self.configured:
            return
        sql = "SELECT cluster_id FROM events WHERE cluster_id = {cluster:String} LIMIT 1"
        if not (await self._asked(lambda: store.query(sql, {"cluster": cluster_id}))).rows:
            raise self._unknown(cluster_id)

    def _store(self) -> Store:
        if self.store is None:
            raise Refusal("unavailable", "no_audit", "no audit store is configured here", "clickhouse")
        return self.store

    def _unknown(self, cluster_id: str) -> Refusal:
        near = difflib.get_close_matches(cluster_id, self.configured, n=1)
        there = (
            f"did you mean {near[0]}?" if near else f"configured are: {', '.join(sorted(self.configured)) or 'none'}"
        )
        text = f"no cluster {clean(cluster_id)[:80]!r} is configured or on record; {there}"
        return Refusal("not_found", "unknown_cluster", text, "cluster")

    async def _asked(self, call: Callable[[], T]) -> T:
        with refusing():
            return await asyncio.to_thread(call)


def _no_topics() -> WholeReader:
    raise AssertionError("they were not asked for")
