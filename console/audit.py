"""What people ask of the audit store, answered for the desk."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from console.desk import Refusal
from infra.clickhouse.export import Wanted, export
from infra.clickhouse.questions import Answer, QuestionRefused, bind, moment, question
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Store
from infra.clickhouse.verify import verify_store
from schemas.text import clean

T = TypeVar("T")


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
class AuditAnswers:
    """console.desk.AuditPort over the store. `configured`: the clusters that may have nothing on record yet."""

    store: Store
    configured: Collection[str] = ()

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
        await self._knows(params.get("cluster", ""))
        return Answer(asked, await self._asked(lambda: self.store.query(asked.sql, bound))).to_dict()

    async def verify(self, cluster_id: str) -> Mapping[str, Any]:
        """{"ok": bool, "text": ...}. Raises Refusal."""
        await self._knows(cluster_id)
        verdict = await self._asked(lambda: verify_store(self.store, cluster_id or None))
        return {**verdict.to_dict(), "ok": verdict.ok, "text": verdict.to_text()}

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        """The record as JSON lines, some at a time (infra.clickhouse.export). Raises Refusal where the store does not
        answer; one that falls silent later leaves an export without its last line."""
        given = {"since": since, "until": until}
        times = {name: _moment(name, value) for name, value in given.items() if value}
        await self._knows(cluster_id)
        pages = export(self.store, Wanted(cluster_id, **times))
        first = await self._asked(lambda: next(pages, b""))
        return _pages(first, pages)

    async def _knows(self, cluster_id: str) -> None:
        """Of a name that was mistyped, nothing on record would look like nothing wrong."""
        if not cluster_id or cluster_id in self.configured:
            return
        sql = "SELECT cluster_id FROM events WHERE cluster_id = {cluster:String} LIMIT 1"
        if (await self._asked(lambda: self.store.query(sql, {"cluster": cluster_id}))).rows:
            return
        near = difflib.get_close_matches(cluster_id, self.configured, n=1)
        there = (
            f"did you mean {near[0]}?" if near else f"configured are: {', '.join(sorted(self.configured)) or 'none'}"
        )
        text = f"no cluster {clean(cluster_id)[:80]!r} is configured or on record; {there}"
        raise Refusal("not_found", "unknown_cluster", text, "cluster")

    async def _asked(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(call)
        except AuditRefused as error:
            raise Refusal("conflict", "audit_refused", str(error)) from None
        except AuditUnreachable as error:
            raise Refusal("unavailable", "audit_unreachable", str(error)) from None
