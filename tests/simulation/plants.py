"""Bugs to be planted from outside: each a small replacement, made for the length of one history. Production has no
switch for any of them; that the checkers see them is what proves the checkers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import executors.execute
import executors.pd
import executors.protocol
import schemas.approvals
import streams.remediations
from actions.evict_store_leaders import EvictStoreLeaders
from executors.changes import Claim, Step
from executors.execute import Execute
from infra.runners import memory
from schemas.controls import Controls
from schemas.events import Concluded, StepIntended
from schemas.processors import Lane

Plant = Callable[[], "contextlib.AbstractContextManager[None]"]


@contextlib.contextmanager
def put(place: Any, name: str, instead: Any) -> Iterator[None]:
    """`place.name` is something else for a while."""
    was = place.__dict__[name]
    setattr(place, name, instead)
    try:
        yield
    finally:
        setattr(place, name, was)


def _intent_after_request() -> contextlib.AbstractContextManager[None]:
    async def send(self: Execute, lane: Lane[Any], intended: StepIntended) -> None:
        claim = lane.state.claim
        assert claim is not None
        writer = self.writer(lane.cluster_id, frozenset({intended.call.name}))
        await writer.cluster_id()
        caller = f"steward/{intended.remediation_id}/{intended.attempt}.{intended.step}"
        reply = await writer.send(intended.call, caller_id=caller, within_s=10)
        await lane.commit(intended)
        await lane.commit(executors.execute._taken(intended, reply.answer, code=reply.code))

    return put(Execute, "_send", send)


def _retry_after_may_have_run() -> contextlib.AbstractContextManager[None]:
    real = Step.had_no_effect
    return put(Step, "had_no_effect", lambda self: self.answer == "may_have_run" or real(self))


def _proxy_5xx_as_refused() -> contextlib.AbstractContextManager[None]:
    real: Any = vars(executors.pd)["judge"]

    def judge(call: Any, status: int, content_type: str, body: str) -> Any:
        return ("refused", "pd_said_no", body[:100]) if status >= 500 else real(call, status, content_type, body)

    return put(executors.pd, "judge", judge)


def _probe_before_the_window_ends() -> contextlib.AbstractContextManager[None]:
    return put(executors.protocol._Here, "_can_arrive_until", lambda self, step: step.intended_at_ms)


def _conclude_with_an_undo_owed() -> contextlib.AbstractContextManager[None]:
    return put(Claim, "owed", lambda self, *, all_of_them: ())


def _undo_of_what_was_there_before() -> contextlib.AbstractContextManager[None]:
    real = EvictStoreLeaders.preflight

    def preflight(self: EvictStoreLeaders, facts: Any, limits: Any) -> Any:
        return (o for o in real(self, facts, limits) if o.code not in ("already_evicting", "slow_evicted"))

    return put(EvictStoreLeaders, "preflight", preflight)


def _stale_controls_read_as_not_frozen() -> contextlib.AbstractContextManager[None]:
    real = memory.MemoryControls.read

    async def read(self: memory.MemoryControls) -> Controls:
        return replace(self._held, live=True) if self.cut_off else await real(self)

    return put(memory.MemoryControls, "read", read)


def _freeze_blocks_an_undo() -> contextlib.AbstractContextManager[None]:
    return put(Controls, "refuses_undo", lambda self, cluster_id: self.refuses_forward(cluster_id))


def _without(*codes: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A word counts although it is refused with one of these codes."""

    def plant() -> contextlib.AbstractContextManager[None]:
        real = schemas.approvals.judge

        def judge(*given: Any, **more: Any) -> Any:
            refusal = real(*given, **more)
            return None if refusal and refusal[0] in codes else refusal

        stack = contextlib.ExitStack()
        stack.enter_context(put(schemas.approvals, "judge", judge))
        stack.enter_context(put(streams.remediations, "judge", judge))
        return stack  # type: ignore[return-value]

    return plant


def _remediations_lapses_an_authorised_claim() -> contextlib.AbstractContextManager[None]:
    here = streams.remediations._Here
    real = here._flag

    def lapse(self: Any, r: Any, code: str, text: str) -> Any:
        return self._close(r, "lapsed", text) if code == "unclaimed" else real(self, r, code, text)

    return put(here, "_flag", lapse)


def _unknown_does_not_quarantine() -> contextlib.AbstractContextManager[None]:
    real = executors.protocol.evolve

    def evolve(cluster: Any, event: Any, head: Any) -> Any:
        after = real(cluster, event, head)
        return replace(after, quarantine="") if isinstance(event, Concluded) else after

    return put(executors.execute, "evolve", evolve)


def _drift_replanned_silently() -> contextlib.AbstractContextManager[None]:
    stack = contextlib.ExitStack()
    stack.enter_context(put(executors.protocol, "drifted", lambda plan, facts, action: []))
    stack.enter_context(put(executors.protocol, "exceeds", lambda bounds, reach: []))
    return stack  # type: ignore[return-value]


PLANTS: Mapping[str, Plant] = {
    "intent-after-request": _intent_after_request,
    "probe-before-the-window-ends": _probe_before_the_window_ends,
    "retry-after-may-have-run": _retry_after_may_have_run,
    "proxy-5xx-as-refused": _proxy_5xx_as_refused,
    "conclude-with-an-undo-owed": _conclude_with_an_undo_owed,
    "undo-of-what-was-there-before": _undo_of_what_was_there_before,
    "stale-controls-read-as-not-frozen": _stale_controls_read_as_not_frozen,
    "freeze-blocks-an-undo": _freeze_blocks_an_undo,
    "approval-replayed-to-another-remediation": _without("wrong_remediation"),
    "remediations-lapses-an-authorised-claim": _remediations_lapses_an_authorised_claim,
    "unknown-does-not-quarantine": _unknown_does_not_quarantine,
    "expired-approval-used": _without("expired"),
    "self-approval-counted": _without("self_approval"),
    "approval-of-another-plan-used": _without("wrong_digest"),
    "drift-replanned-silently": _drift_replanned_silently,
}
