"""Bugs to be planted from outside: each a small replacement, made for the length of one history. Production has no
switch for any of them; that the checkers see them is what proves the checkers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import executors.execute
import executors.pd
import executors.protocol
import infra.clickhouse.sink
import infra.runners.books
import schemas.approvals
import schemas.wire
import streams.remediations
import streams.validate
from actions.catalogue import parse
from actions.evict_store_leaders import EvictStoreLeaders
from executors.changes import Claim, Step
from executors.execute import Execute
from infra.runners import own_log
from infra.runners.books import Draft, Raw
from infra.runners.own_log import LiveControls, PartitionLog, Place
from infra.runners.owner import Owner, OwnLane, Rebuild
from infra.runners.owners import PartitionOwners
from schemas.controls import Controls
from schemas.events import Claimed, Concluded, Event, StepIntended
from schemas.facts import NoFacts
from schemas.processors import Lane
from schemas.values import Cause, Plan
from tests.simulation.groups import GroupMetadata

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


def both(*plants: contextlib.AbstractContextManager[None]) -> contextlib.AbstractContextManager[None]:
    stack = contextlib.ExitStack()
    for plant in plants:
        stack.enter_context(plant)
    return stack  # type: ignore[return-value]


def _claim_after_effect() -> contextlib.AbstractContextManager[None]:
    """The call goes out with the decision to claim, which is still to be committed."""
    real = Execute.decide

    async def effect(self: Execute, claimed: Claimed) -> None:
        call = claimed.plan.changes[0].do
        writer = self.writer(claimed.cluster_id, frozenset({call.name}))
        with contextlib.suppress(NoFacts):
            await writer.cluster_id()
            await writer.send(call, caller_id=f"steward/{claimed.remediation_id}/1.1", within_s=10)

    def decide(self: Execute, *given: Any) -> Any:
        decided = real(self, *given)
        for event in decided:
            if isinstance(event, Claimed) and event.mode == "on":
                sent.append(asyncio.ensure_future(effect(self, event)))
        return decided

    sent: list[asyncio.Future[None]] = []
    return put(Execute, "decide", decide)


def _sweep_deletes_a_newer_claims_change() -> contextlib.AbstractContextManager[None]:
    """What an ended claim has made is swept away wherever it is seen, also when it is another's by now."""
    real = Execute._look
    made: dict[str, Step] = {}  # remediation -> its last undo

    async def look(self: Execute, lane: Lane[Any], seen: Any) -> Any:
        seen = await real(self, lane, seen)
        claim = lane.state.claim
        here = claim.claimed.remediation_id if claim else ""
        for step in claim.steps if claim else ():
            if step.call.name == "remove_evict_leader":
                made[here] = step
        for remediation_id, step in made.items():
            if remediation_id != here and seen.facts and int(step.call.args["store_id"]) in seen.facts.evicting:
                writer = self.writer(lane.cluster_id, frozenset({step.call.name}))
                with contextlib.suppress(NoFacts):
                    await writer.cluster_id()
                    caller_id = f"steward/{remediation_id}/{step.attempt}.{step.number}"
                    await writer.send(step.call, caller_id=caller_id, within_s=10)
        return seen

    return put(Execute, "_look", look)


def _digest_without_bounds() -> contextlib.AbstractContextManager[None]:
    def digest_of(plan: Plan) -> str:
        unbound = plan.bounds.model_copy(update={"stores_max": 0, "regions_max": 0, "leaders_max": 0})
        return schemas.wire.digest_of(plan.model_copy(update={"bounds": unbound}))

    return both(put(streams.validate, "digest_of", digest_of), put(executors.protocol, "digest_of", digest_of))


def _dead_lettered_freeze() -> contextlib.AbstractContextManager[None]:
    """A control that can't be read is put aside, as any other input would be."""
    real = infra.runners.books.fold_control

    def fold(held: Controls, raw: Any) -> Controls:
        found = real(held, raw)
        return replace(found, poisoned=held.poisoned)

    return put(own_log, "fold_control", fold)


def _trust_another_hosts_clock() -> contextlib.AbstractContextManager[None]:
    """Facts are as old as whoever has read them says."""
    here = executors.protocol._Here

    def told(real: Any) -> Any:
        def fresh(self: Any, *after_ms: int) -> Any:
            facts = self.seen.facts
            said = replace(self.seen, looked_at_ms=facts.taken_at_ms) if facts else self.seen
            return real(replace(self, seen=said), *after_ms)

        return fresh

    return both(*(put(here, name, told(here.__dict__[name])) for name in ("_fresh", "_fresh_after")))


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


def _undo_of_a_change_that_was_there_before_us() -> contextlib.AbstractContextManager[None]:
    """Three rules stand against it: none is there."""
    checked, relied_on = EvictStoreLeaders.preflight, EvictStoreLeaders.relies_on

    def preflight(self: EvictStoreLeaders, facts: Any, limits: Any) -> Any:
        return (
            o for o in checked(self, facts, limits) if o.code not in ("already_evicting", "slow_evicted", "no_leaders")
        )

    def relies_on(self: EvictStoreLeaders, facts: Any) -> Any:
        return tuple(p for p in relied_on(self, facts) if not p.name.endswith(".evicting"))

    return both(put(EvictStoreLeaders, "preflight", preflight), put(EvictStoreLeaders, "relies_on", relies_on))


def _stale_controls_read_as_not_frozen() -> contextlib.AbstractContextManager[None]:
    real = LiveControls.read

    async def read(self: LiveControls) -> Controls:
        return replace(await real(self), live=True)

    return put(LiveControls, "read", read)


def _freeze_blocks_an_undo() -> contextlib.AbstractContextManager[None]:
    return put(Controls, "refuses_undo", lambda self, cluster_id: self.refuses_forward(cluster_id))


def _without(*codes: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A word counts although it is refused with one of these codes."""

    def plant() -> contextlib.AbstractContextManager[None]:
        real = schemas.approvals.judge

        def judge(*given: Any, **more: Any) -> Any:
            refusal = real(*given, **more)
            return None if refusal and refusal[0] in codes else refusal

        return both(put(schemas.approvals, "judge", judge), put(streams.remediations, "judge", judge))

    return plant


def _remediations_lapses_an_authorised_claim() -> contextlib.AbstractContextManager[None]:
    here = streams.remediations._Here
    real = here._flag

    def lapse(self: Any, r: Any, code: str, text: str) -> Any:
        return self._close(r, "lapsed", text) if code == "unclaimed" else real(self, r, code, text)

    return put(here, "_flag", lapse)


def _unknown_doesnt_quarantine() -> contextlib.AbstractContextManager[None]:
    """Two stand against it, who orders and who obeys: neither keeps it in mind."""
    obeys, orders = executors.protocol.evolve, streams.remediations._evolve

    def of_execute(cluster: Any, event: Any, head: Any) -> Any:
        after = obeys(cluster, event, head)
        return replace(after, quarantine="") if isinstance(event, Concluded) else after

    def of_remediations(state: Any, event: Any, at: int) -> Any:
        return replace(orders(state, event, at), quarantine="")

    return both(put(executors.execute, "evolve", of_execute), put(streams.remediations, "_evolve", of_remediations))


def _audit_resumes_past_a_partial_batch() -> contextlib.AbstractContextManager[None]:
    """Two months go into one insert."""

    def cut(raws: Sequence[Raw], rows_max: int, bytes_max: int) -> list[list[Raw]]:
        return [list(raws)] if raws else []

    return put(infra.clickhouse.sink, "cut", cut)


def _audit_does_not_wait_out_a_running_insert() -> contextlib.AbstractContextManager[None]:
    """A new owner reads the positions while its predecessor's insert is still under way."""
    real = infra.clickhouse.sink.Sink.run

    async def run(self: Any, log: Any) -> None:
        self._owner_wait_s = 0.0
        await real(self, log)

    return put(infra.clickhouse.sink.Sink, "run", run)


def _audit_makes_a_block_anew() -> contextlib.AbstractContextManager[None]:
    """An insert of unknown fate is repeated with other bytes: the engine can't know them again."""
    sink = infra.clickhouse.sink.Sink
    real = sink._until_done

    async def until_done(self: Any, call: Any, **more: Any) -> Any:
        if more.get("log") is None:
            return await real(self, call, **more)
        (block,) = call.__defaults__

        def anew() -> Any:
            again = int(self._now_s() * 1000)
            return self._store.insert([(*row[:4], again, *row[5:]) for row in block])

        return await real(self, anew, **more)

    return put(sink, "_until_done", until_done)


def _drift_re_planned_silently() -> contextlib.AbstractContextManager[None]:
    """What is done is what the facts of now ask for, not what was approved."""
    approved = Claim.changes

    def changes(self: Claim) -> Any:
        action = parse(self.claimed.action, self.claimed.params)
        return action.plan(self.facts) if self.facts else approved(self)

    return both(
        put(executors.protocol, "drifted", lambda plan, facts, action: []),
        put(executors.protocol, "exceeds", lambda bounds, reach: []),
        put(Claim, "changes", changes),
    )


# -- what is done with the log and the groups -----------------------------------------------------------------------


def _skip_fence() -> contextlib.AbstractContextManager[None]:
    """Each owner has a transactional id of its own, so that it shuts nobody out."""

    async def fence(self: Any) -> None:
        known = self.clients.process.brokers.cluster.coordinator.known
        writer = self.clients.writer(f"{self.role}-{self.partition}-{len(known)}", 10_000)
        await writer.init()
        self._writer = writer

    return put(PartitionLog, "_fence", fence)


def _init_outside_assign() -> contextlib.AbstractContextManager[None]:
    """The predecessor is shut out when the first commit comes, not when the partition is taken over."""
    really, commit = PartitionLog._fence, PartitionLog._commit

    async def not_yet(self: PartitionLog) -> None:
        return None

    async def first(self: PartitionLog, stamped: Any, dead: Any) -> int:
        if self._writer is None:
            await really(self)
        return await commit(self, stamped, dead)

    return both(put(PartitionLog, "_fence", not_yet), put(PartitionLog, "_commit", first))


def _commit_without_group_metadata() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog._commit

    async def commit(self: PartitionLog, stamped: Any, dead: Any) -> int:
        self.group_metadata = lambda: GroupMetadata(self.role)
        return await real(self, stamped, dead)

    return put(PartitionLog, "_commit", commit)


def _trust_committed_offset() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog.seek

    async def seek(self: Any, positions: Mapping[str, int]) -> None:
        known = self.clients.process.brokers.cluster.group(self.role).offsets
        mine = {topic: known[topic, self.partition][0] for topic in self.inputs if (topic, self.partition) in known}
        await real(self, mine)

    return put(PartitionLog, "seek", seek)


def _stop_the_fold_at_the_last_stable_offset() -> contextlib.AbstractContextManager[None]:
    async def end(self: PartitionLog) -> tuple[int, int]:
        self._reader = self.clients.reader()
        return await self._of_reader().ends((self.topic, self.partition), 30)

    return put(PartitionLog, "_proven_end", end)


def _fold_read_uncommitted() -> contextlib.AbstractContextManager[None]:
    real = PartitionLog._read_from

    async def read_from(self: PartitionLog, positions: Mapping[Place, int], *, says_end: bool) -> None:
        await real(self, positions, says_end=says_end)
        if says_end:
            self._reader = self.clients.reader(committed_only=False)
            await self._reader.assign(positions)

    return put(PartitionLog, "_read_from", read_from)


def _evolve_before_commit() -> contextlib.AbstractContextManager[None]:
    """And stays there where the commit was aborted."""
    real = Owner._commit

    async def commit(self: Owner[Any], draft: Any) -> None:
        self._books.accept(draft)
        with contextlib.suppress(Rebuild):
            await real(self, draft)

    return put(Owner, "_commit", commit)


def _offset_moves_without_claim_or_refusal() -> contextlib.AbstractContextManager[None]:
    real = Draft.take

    def take(self: Draft[Any], raw: Raw, *, may_wait: bool = False) -> bool:
        if self.books.role == "execute" and self.inputs and raw.offset % 7 == 0:
            self._took(raw)
            return True
        return real(self, raw, may_wait=may_wait)

    return put(Draft, "take", take)


def _effect_on_unknown_commit() -> contextlib.AbstractContextManager[None]:
    """A lane that has had no answer for a while takes it for a yes."""
    real = OwnLane.commit

    async def commit(self: OwnLane[Any], *decided: Event, cause: Cause | None = None) -> None:
        asked = asyncio.ensure_future(real(self, *decided, cause=cause))
        if asked in (await asyncio.wait([asked], timeout=1))[0]:
            asked.result()

    return put(OwnLane, "commit", commit)


def _lane_shared_by_two_owners_after_revoke() -> contextlib.AbstractContextManager[None]:
    """What was revoked or lost is not stopped."""

    async def give_up(self: PartitionOwners, partitions: Any, within_s: float) -> None:
        for partition in partitions:
            self._tasks.pop(partition, None)

    return put(PartitionOwners, "_give_up", give_up)


PLANTS: Mapping[str, Plant] = {
    "claim-after-effect": _claim_after_effect,
    "digest-without-bounds": _digest_without_bounds,
    "sweep-deletes-a-newer-claims-change": _sweep_deletes_a_newer_claims_change,
    "dead-lettered-freeze": _dead_lettered_freeze,
    "trust-another-hosts-clock": _trust_another_hosts_clock,
    "intent-after-request": _intent_after_request,
    "probe-before-the-window-ends": _probe_before_the_window_ends,
    "retry-after-may-have-run": _retry_after_may_have_run,
    "proxy-5xx-as-refused": _proxy_5xx_as_refused,
    "conclude-with-an-undo-owed": _conclude_with_an_undo_owed,
    "undo-of-a-change-that-was-there-before-us": _undo_of_a_change_that_was_there_before_us,
    "stale-controls-read-as-not-frozen": _stale_controls_read_as_not_frozen,
    "freeze-blocks-an-undo": _freeze_blocks_an_undo,
    "approval-replayed-to-another-remediation": _without("wrong_remediation"),
    "remediations-lapses-an-authorised-claim": _remediations_lapses_an_authorised_claim,
    "unknown-doesnt-quarantine": _unknown_doesnt_quarantine,
    "expired-approval-used": _without("expired"),
    "self-approval-counted-in-a-quorum": _without("self_approval"),
    "approval-of-another-plan-used": _without("wrong_digest"),
    "drift-re-planned-silently": _drift_re_planned_silently,
    "audit-resumes-past-a-partial-batch": _audit_resumes_past_a_partial_batch,
    "audit-does-not-wait-out-a-running-insert": _audit_does_not_wait_out_a_running_insert,
    "audit-makes-a-block-anew": _audit_makes_a_block_anew,
    "skip-fence": _skip_fence,
    "init-outside-assign": _init_outside_assign,
    "commit-without-group-metadata": _commit_without_group_metadata,
    "trust-committed-offset": _trust_committed_offset,
    "stop-the-fold-at-the-last-stable-offset": _stop_the_fold_at_the_last_stable_offset,
    "fold-read-uncommitted": _fold_read_uncommitted,
    "evolve-before-commit": _evolve_before_commit,
    "offset-moves-without-claim-or-refusal": _offset_moves_without_claim_or_refusal,
    "effect-on-unknown-commit": _effect_on_unknown_commit,
    "lane-shared-by-two-owners-after-revoke": _lane_shared_by_two_owners_after_revoke,
}
