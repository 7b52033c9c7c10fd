"""Let another member lead PD."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, no, wait
from schemas.events import Finding
from schemas.facts import Facts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample

RETRY_S = 300


class TransferPdLeader(Action):
    """Move the leader of PD, of etcd's with it, to another of its members.

    For a PD leader whose own disk or CPU is the trouble: every transaction of the cluster waits for it. No data is
    moved.

    What clients notice: no timestamps are given out for some 500 ms, at worst for 3 s, so every transaction waits so
    long once; and once more where it is undone. Nothing fails that retries as TiDB does.

    What PD keeps in the memory of its leader is lost: running operators, pauses of schedulers and checkers, how far
    removals are and the store limits from before them, hot regions. So it is refused while an operator runs, while a
    scheduler is paused, and while a store is being removed. Pauses of checkers show nowhere that is read here: ask
    whoever sets them. Counts of a new leader are incomplete for a while, so for a minute nothing is concluded from
    them, and for five nothing else is begun here.

    Refused while any member of PD is unwell: should the new leader fail too, PD would be without a quorum. Refused
    where a member has a higher `leader_priority`: PD would move its leader to that one within a minute.

    The undo moves it back to the member that leads now, which the plan names.

    By hand it is `pd-ctl member leader transfer pd-1`, and the same with the old leader to take it back; `pd-ctl member
    leader show` and `pd-ctl health` tell who leads and who is well.
    """

    name = "transfer_pd_leader"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"transfer_pd_leader"})
    clients_notice = "every transaction waits for a timestamp once, some 500 ms, at worst 3000 ms"

    member: str = Field(min_length=1, max_length=128, description="The member of PD that shall lead, by its name.")

    def title(self) -> str:
        return f"Move the leader of PD to {self.member}"

    def entities(self) -> tuple[str, ...]:
        return (f"pd:{self.member}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Who leads, for that is the undo; which members there are, and whom of them PD itself prefers."""
        return (
            Premise(name="pd.leader", value=facts.pd_leader or "unknown"),
            Premise(name="pd.leader_started_at_ms", value=str(facts.pd_started_at_ms)),
            *(Premise(name=f"pd:{m.name}.leader_priority", value=str(m.leader_priority)) for m in facts.pd_members),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        target, leader = facts.pd_member(self.member), facts.pd_member(facts.pd_leader)
        if target is None:
            yield no("no_such_member", f"PD has no member {self.member}")
        if self.member == facts.pd_leader:
            yield no("already_leads", f"{self.member} leads PD")
        for who in (self.member, facts.pd_leader):
            if not calls.can_name(who):
                yield no("odd_name", f"{who!r} is no name of a member that a call could say")
        if unwell := [m.name for m in facts.pd_members if not m.is_healthy]:
            yield no(
                "member_unhealthy", f"members {', '.join(unwell)} of PD are unhealthy: the quorum would be at risk"
            )
        if not len(facts.pd_members) == facts.members == facts.members_healthy:
            text = f"{facts.members_healthy} healthy of {facts.members} members, and {len(facts.pd_members)} are listed"
            yield no("members_unclear", text)
        for goes_to in (target, leader):  # there, and back
            if goes_to and (above := [m.name for m in facts.pd_members if m.leader_priority > goes_to.leader_priority]):
                text = f"PD moves its leader from {goes_to.name} to {', '.join(above)} by itself (leader_priority)"
                yield no("another_preferred", text)
        yield from self._lost(facts, limits)

    def _lost(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """What is in the memory of the PD leader, and somebody relies on."""
        retry_ms = limits.now_ms + RETRY_S * 1000
        if facts.operators:
            regions = ", ".join(str(o.region_id) for o in facts.operators[:5])
            text = f"{len(facts.operators)} operators run, and would be lost (regions {regions})"
            yield wait("operators_running", text, retry_ms)
        if facts.paused_schedulers:
            text = f"{', '.join(facts.paused_schedulers)} are paused by somebody, and would go on"
            yield wait("schedulers_paused", text, retry_ms)
        if leaving := [s.id for s in facts.stores if s.state == "Offline"]:
            text = f"stores {leaving} are being removed: PD would forget how far, and their store limits from before"
            yield no("stores_leaving", text)

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        back = calls.transfer_pd_leader(facts.pd_leader) if calls.can_name(facts.pd_leader) else None
        return (Change(do=calls.transfer_pd_leader(self.member), undo=back),)

    def reach(self, facts: Facts) -> Reach:
        """Nothing moves; but every store talks to another leader."""
        return Reach(stores=len(facts.living()), regions=0, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=len(facts.living()), regions_max=0, leaders_max=0)

    def figures(self, facts: Facts) -> dict[str, float]:
        return health(facts) | {"leads": float(facts.pd_leader == self.member)}

    def is_done(self, facts: Facts) -> bool:
        """Whoever leads has settled: before, its counts say nothing, and PD may still move it to a preferred member."""
        return is_settled(facts)

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "leads") == 1

    def probe(self, call: Call, now: Facts) -> Finding:
        """By who leads. A leader that has just begun may be passed by, or be one that has lost the lead unawares: that
        another one leads is believed once PD has settled.

        Moved and moved on again reads as not started, if the member is well: sending it once more has the effect that
        was approved. Of an undo, a third one that leads is somebody's word since, and ours is gone.
        """
        wanted = call.args.get("member")
        if call.name != "transfer_pd_leader" or not now.pd_leader:
            return "cant_tell"
        if now.pd_leader == wanted:
            return "applied"
        if now.pd_leader == self.member:  # of an undo: it is there to be taken back
            return "not_started"
        if not is_settled(now):
            return "cant_tell"
        if wanted != self.member:
            return "applied"
        target = now.pd_member(self.member)
        return "not_started" if target and target.is_healthy else "cant_tell"
