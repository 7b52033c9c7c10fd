"""What people ask of the audit store, answered for the desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from console.desk import Refusal
from infra.clickhouse.questions import QuestionRefused, ask
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Store
from infra.clickhouse.verify import verify_store


@dataclass(frozen=True)
class AuditAnswers:
    """console.desk.AuditPort over the store."""

    store: Store

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """{"columns": [...], "rows": [[...], ...], "ok": bool}. Raises Refusal."""
        try:
            answer = await asyncio.to_thread(ask, self.store, name, params)
        except QuestionRefused as error:
            raise Refusal("not_found", "bad_question", str(error), "name") from None
        except (AuditRefused, AuditUnreachable) as error:
            raise Refusal("unavailable", "audit_unreachable", str(error)) from None
        return answer.to_dict()

    async def verify(self, cluster_id: str) -> Mapping[str, Any]:
        """{"ok": bool, "text": ...}. Raises Refusal."""
        try:
            verdict = await asyncio.to_thread(verify_store, self.store, cluster_id or None)
        except (AuditRefused, AuditUnreachable) as error:
            raise Refusal("unavailable", "audit_unreachable", str(error)) from None
        return {**verdict.to_dict(), "ok": verdict.ok, "text": verdict.to_text()}
