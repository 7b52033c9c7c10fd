"""A log written by hand for the audit's tests: stamped with the production chain, with the gaps that markers leave.

Also a program, to be killed: `python -m tests.integration.audit_fixtures sink PATH` writes the long log into chDB.
"""

import asyncio
import json
import random
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import Row, row_of
from infra.clickhouse.sink import Positions, Sink
from infra.clickhouse.store import Store, open_store
from infra.clickhouse.verify import Kept
from infra.runners.books import Raw
from schemas import events as e
from schemas.chain import Link, edge, identified, stamp
from schemas.topics import partition_of
from schemas.values import AlertRef, Bounds, Call, Change, Plan, Reach, Sample, SignedApproval, canonical_json
from schemas.wire import digest_of, frame
from streams.pipeline import BY_NAME, OWNED

START_MS = 1_800_000_000_000  # 2027-01-15 08:00 UTC
FEBRUARY_MS = 1_801_440_000_000  # 2027-02-01 00:00 UTC
CLUSTER = "prod-eu-7"
PD_IDS = {CLUSTER: 7, "lab-3": 8, "prod-us-1": 9}
PARTITIONS = 3


@dataclass
class Story:
    """What happened. Each beat comes a second after the one before. `gaps`: as the markers of transactions leave."""

    now_ms: int = START_MS
    gaps: bool = True
    records: dict[tuple[str, int], list[Raw]] = field(default_factory=dict)
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    beats: int = 0

    def says(
        self, topic: str, event: e.Event, cause: Raw | None = None, *, after_s: float = 1, partition: int | None = None
    ) -> Raw:
        self.now_ms += int(after_s * 1000)
        self.beats += 1
        cited = cause.cause() if cause else None
        if topic in OWNED:
            key = (topic, event.cluster_id)
            made, self.links[key] = stamp(topic, self.links.get(key, Link()), event, cited, self.now_ms, 0)
        elif event.headless or cited is None:
            made = edge(event, f"edge-{self.beats}", self.now_ms)
        else:
            made = identified(f"{topic}/{self.beats}", event, cited, self.now_ms)
        return self.stands(topic, event.cluster_id, frame(type(event), made.body), partition)

    def stands(self, topic: str, key: str, value: bytes | None, partition: int | None = None) -> Raw:
        """Any bytes."""
        if partition is None:
            alone = topic not in BY_NAME or BY_NAME[topic].partitions == 1
            partition = 0 if alone else int(key[1:]) if key.startswith("~") else partition_of(key, PARTITIONS)
        held = self.records.setdefault((topic, partition), [])
        offset = held[-1].offset + 1 + (self.gaps and len(held) % 3 == 0) if held else 0
        raw = Raw(topic, partition, offset, self.now_ms + 40, key.encode(), value)
        held.append(raw)
        return raw

    def all(self) -> list[Raw]:
        return [raw for _, held in sorted(self.records.items()) for raw in held]

    def kept(self) -> list[Kept]:
        return [Kept(raw, row_of(raw, self.now_ms)) for raw in self.all()]

    # whole stretches

    def alerted(self, incident: str, cluster: str = CLUSTER, store: int = 4) -> Raw:
        """A monitor's alert, as JSON, becomes an incident with a diagnosis by the playbook and one by the model."""
        alert = AlertRef(fingerprint=f"f{store}", name="TiKV_slow", starts_at_ms=self.now_ms, level="critical")
        body = json.dumps({"version": "4", "alerts": [{"labels": {"alertname": "TiKV_slow"}}]}).encode()
        foreign = self.stands("alerts", cluster, body)
        signal = self.says("signals", e.AlertFired(cluster_id=cluster, labels={}, **_named(alert)), foreign)
        of: dict[str, Any] = {"cluster_id": cluster, "incident_id": incident}
        opened = self.says(
            "incidents", e.IncidentOpened(**of, family="slow", title="slow", level="critical", alert=alert), signal
        )
        made = []
        for by in ("playbook", "model"):
            ask = f"{incident}-{by}"
            asked = self.says(
                "incidents",
                e.DiagnosisAsked(**of, ask_id=ask, by=by, deadline_ms=self.now_ms, family="slow", alerts=(alert,)),
                signal,
            )
            answer = e.DiagnosisMade(
                **of,
                ask_id=ask,
                by=by,
                cause="disk_stall",
                confidence=0.86,
                summary="disk stall, store 4",
                evidence=(),
                cited=(),
                **(
                    {"model": "claude", "prompt_version": "3", "prompt_sha256": "ab12", "reply": "It is the disk."}
                    if by == "model"
                    else {}
                ),
            )
            made.append(self.says("diagnoses", answer, asked))
        del opened
        adopted = e.DiagnosisAdopted(
            **of,
            ask_id=f"{incident}-model",
            by="model",
            final=True,
            cause="disk_stall",
            confidence=0.86,
            summary="disk",
        )
        return self.says("incidents", adopted, made[-1])

    def repaired(
        self,
        remediation: str,
        incident: str,
        cluster: str = CLUSTER,
        *,
        people: Sequence[str] = ("anna",),
        claims: Sequence[str] | None = None,  # whose approvals the claim says it has; None: people's
        undone: bool = True,
        concluded: bool = True,
        store: int = 4,
        thinks_s: float = 60,
        lasts_s: float = 0,  # longer than the two seconds that it lasts anyway
        outcome: e.Outcome = "succeeded",
    ) -> Raw:
        """A proposal is validated, approved, claimed, done, taken back, verified, closed."""
        adopted = next(r for r in reversed(self.all()) if r.topic == "incidents")
        plan = plan_of(cluster, store)
        digest = digest_of(plan)
        of: dict[str, Any] = {"cluster_id": cluster, "incident_id": incident, "remediation_id": remediation}
        why: dict[str, Any] = {"why": "disk stall", "cause": "disk_stall", "confidence": 0.86}
        what: dict[str, Any] = {"action": plan.action, "params": plan.params}
        reach = Reach(stores=1, regions=3, leaders=2, leaders_share=0.1)
        approvals = tuple(self.word(p, remediation) for p in people)
        proposed = self.says(
            "proposals",
            e.ActionProposed(
                **of, **why, **what, proposal_id="P", attempt=1, disputed=False, evidence=(), by="model", model="claude"
            ),
            adopted,
        )
        opened = e.RemediationOpened(**of, **why, **what, proposal_id="P", disputed=False, by="model", evidence=())
        self.says("remediations", opened, proposed)
        asked = e.ApprovalAsked(
            **of, **why, **what, digest=digest, tier="MEDIUM", tier_reasons=(), mode="on", rule="one", needed=1,
            escalation=(), step=0, expires_at_ms=self.now_ms, plan=plan, reach=reach, evidence=(),
            facts_taken_at_ms=self.now_ms - 8000,
        )  # fmt: skip
        self.says("remediations", asked, proposed)
        heard = proposed
        for approval in approvals:
            word = e.Approved(cluster_id=cluster, remediation_id=remediation, digest=digest, approval=approval)
            heard = self.says("approvals", word, after_s=thinks_s)
            counted = e.ApprovalCounted(
                cluster_id=cluster, remediation_id=remediation, approval=approval, counted=1, needed=1
            )
            self.says("remediations", counted, heard)
        authorised = e.ExecutionAuthorized(
            **of, **what, plan=plan, reach=reach, digest=digest, tier="MEDIUM", mode="on", rule="one", needed=1,
            proposed_by="model", approvals=approvals, expires_at_ms=self.now_ms + 600_000,
        )  # fmt: skip
        order = self.says("remediations", authorised, heard)
        claimed = tuple(self.word(p, remediation) for p in claims) if claims is not None else approvals
        claim = e.Claimed(
            **of,
            **what,
            attempt=1,
            plan=plan,
            digest=digest,
            tier="MEDIUM",
            mode="on",
            approvals=claimed,
            deadline_ms=self.now_ms,
        )
        self.says("outcomes", claim, order)
        self.step(remediation, 1, "do", plan.changes[0].do, undo=plan.changes[0].undo, keep_s=900, cluster=cluster)
        ran: dict[str, Any] = {"cluster_id": cluster, "remediation_id": remediation, "attempt": 1}
        self.says("outcomes", e.Sampled(**ran, sample=Sample(at_ms=self.now_ms, figures={"leaders": 0.0})))
        if undone:
            self.now_ms += int(lasts_s * 1000)
            undo = plan.changes[0].undo
            assert undo
            self.step(remediation, 2, "undo", undo, cluster=cluster)
            self.says("outcomes", e.ChangeUndone(**ran, change=0, settled=True))
        if not concluded:
            return order
        ended = self.says(
            "outcomes",
            e.Concluded(**ran, incident_id=incident, outcome=outcome, code="verified", text="leaders 2 -> 0"),
        )
        return self.says("remediations", e.RemediationClosed(**of, code=outcome, text="leaders 2 -> 0"), ended)

    def step(
        self,
        remediation: str,
        number: int,
        way: Literal["do", "undo"],
        call: Call,
        *,
        undo: Call | None = None,
        keep_s: int = 0,
        cluster: str = CLUSTER,
    ) -> Raw:
        ran: dict[str, Any] = {"cluster_id": cluster, "remediation_id": remediation, "attempt": 1, "step": number}
        intended = e.StepIntended(**ran, change=0, kind=way, call=call, undo=undo, keep_s=keep_s, window_s=15.0)
        self.says("outcomes", intended)
        return self.says("outcomes", e.StepTaken(**ran, answer="accepted", status=200))

    def word(self, person: str, remediation: str, lives_s: int = 600) -> SignedApproval:
        return SignedApproval(
            approval_id=f"A-{remediation}-{person}", person=person, via="cli", kid="k1", decided_at_ms=self.now_ms,
            expires_at_ms=self.now_ms + lives_s * 1000, reason="disk known bad", jws="j",
        )  # fmt: skip


def _named(alert: AlertRef) -> dict[str, Any]:
    return {
        "name": alert.name,
        "fingerprint": alert.fingerprint,
        "starts_at_ms": alert.starts_at_ms,
        "level": alert.level,
    }


def plan_of(cluster: str = CLUSTER, store: int = 4) -> Plan:
    call = Call(name="add_evict_leader", args={"store_id": str(store)})
    back = Call(name="remove_evict_leader", args={"store_id": str(store)})
    return Plan(
        environment="test", cluster_id=cluster, pd_cluster_id=PD_IDS[cluster], action="evict_store_leaders",
        action_version=1, policy_version=1, policy_rules=("mode=on", "approval.medium=one"),
        params=canonical_json({"store_id": store}), changes=(Change(do=call, undo=back, keep_s=900),), premises=(),
        bounds=Bounds(stores_max=1, regions_max=9, leaders_max=9),
    )  # fmt: skip


def the_main_story(story: Story | None = None, *, gaps: bool = True) -> Story:
    """A policy is adopted, a store goes slow, leaders are evicted from it and come back."""
    story = story or Story(gaps=gaps)
    story.says("incidents", e.OwnerStarted(cluster_id="~1", role="incidents", owner="host-1", build="b1"))
    story.says(
        "controls",
        e.PolicyAdopted(cluster_id="*", by="anna", reason="trial", version=1, policy_json='{"default_mode":"dry_run"}'),
    )
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1")
    return story


# -- samples of every event -----------------------------------------------------------------------------------------


def sample(annotation: Any, chance: random.Random, depth: int = 0) -> Any:
    """Any value of a field's type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return chance.choice(args)
    if origin in (Union, types.UnionType):
        (inner,) = [a for a in args if a is not type(None)]
        return None if chance.random() < 0.3 else sample(inner, chance, depth)
    if origin is tuple:
        return tuple(sample(args[0], chance, depth + 1) for _ in range(chance.randrange(3 if depth < 3 else 1)))
    if origin is dict:
        return {f"k{i}": sample(args[1], chance, depth + 1) for i in range(chance.randrange(3))}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {n: sample(f.annotation, chance, depth + 1) for n, f in annotation.model_fields.items()}
        return annotation(**fields | ({"cluster_id": CLUSTER} if "cluster_id" in fields else {}))
    made: Mapping[Any, Callable[[], Any]] = {
        str: lambda: chance.choice(["", "x", "süß\n'\"\\\t", "{}", "store:4", "R-1", "語" * 50]),
        int: lambda: chance.choice([0, 1, -1, chance.randrange(2**62), -(2**62), START_MS]),
        float: lambda: chance.choice([0.0, 0.5, 1.0]),
        bool: lambda: chance.random() < 0.5,
        bytes: lambda: chance.randbytes(chance.randrange(40)),
    }
    return made[annotation]()


def sample_event(kind: type[e.Event], chance: random.Random) -> e.Event:
    fields = {n: sample(f.annotation, chance) for n, f in kind.model_fields.items()}
    return kind(**{**fields, "cluster_id": chance.choice([CLUSTER, "~2", "*"])})


def topic_of(kind: type[e.Event]) -> str:
    return next((t.name for t in BY_NAME.values() if kind in t.events), "dead-letters.intake")


def long_story(count: int, seed: int = 7) -> Story:
    """Many events on every topic, over the end of a month; the same for the same seed."""
    chance = random.Random(seed)
    story = Story(now_ms=FEBRUARY_MS - count * 500)
    kinds = [k for k in e.all_events().values() if not k.headless]
    for _ in range(count):
        kind = chance.choice(kinds)
        event = sample_event(kind, chance)
        cluster = chance.choice([CLUSTER, "prod-us-1", "lab-3"])
        story.says(topic_of(kind), event.model_copy(update={"cluster_id": cluster}))
    story.stands("signals", "x", b"\xff\xfe", 1)
    story.stands("controls", "x", None, 0)
    return story


# -- readers and tables ---------------------------------------------------------------------------------------------


class StoryReader:
    """infra.clickhouse.sink.TopicReader over records. `until`: asked for more than there is, it calls this."""

    def __init__(self, raws: Iterable[Raw], at_end: Callable[[], None] = lambda: None) -> None:
        self._held: dict[tuple[str, int], list[Raw]] = {}
        for raw in raws:
            self._held.setdefault((raw.topic, raw.partition), []).append(raw)
        self._at_end = at_end
        self._next: dict[tuple[str, int], int] = {}

    async def seek(self, positions: Positions) -> None:
        self._next = {place: positions.get(place, 0) for place in self._held}

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        await asyncio.sleep(0)
        found: list[Raw] = []
        for place, held in self._held.items():
            some = [r for r in held if r.offset >= self._next[place]][: max(1, max_records // len(self._held))]
            found += some[: max_records - len(found)]
        for raw in found:
            self._next[raw.topic, raw.partition] = raw.offset + 1
        if not found:
            self._at_end()
        return found

    async def ends(self) -> Positions:
        return {place: held[-1].offset + 1 for place, held in self._held.items()}

    async def reached(self, ends: Positions) -> bool:
        return all(self._next.get(place, 0) >= end for place, end in ends.items())

    async def close(self) -> None:
        return None

    trouble = ""

    async def lag(self) -> Mapping[str, int]:
        lag: dict[str, int] = {}
        for place, held in self._held.items():
            lag[place[0]] = lag.get(place[0], 0) + sum(r.offset >= self._next[place] for r in held)
        return lag


async def sink_all(store: Any, raws: Iterable[Raw], **settings: Any) -> Sink:
    """Run a sink until the log is in the table."""
    sink = Sink(store, **{"linger_s": 0.0, "owner_wait_s": 0.0, **settings})
    await sink.run(StoryReader(raws, sink.stop))
    return sink


def keep(store: Store, rows: Sequence[Row]) -> None:
    """Rows as they are, month by month."""
    months: dict[int, list[Row]] = {}
    for row in rows:
        months.setdefault(row[3] < FEBRUARY_MS, []).append(row)
    for batch in months.values():
        store.insert(batch)


def contents(store: Store) -> list[tuple[Any, ...]]:
    sql = "SELECT topic, partition, offset, lower(hex(SHA256(raw))) FROM events ORDER BY ALL"
    return store.query(sql).rows


# -- the program ----------------------------------------------------------------------------------------------------


LONG = 1500


def main(verb: str, path: str) -> None:
    url = f"chdb:{path}"
    store = open_store(url)
    if verb == "sink":
        migrate(url)
        insert = store.insert

        def insert_and_say(batch: Sequence[Row]) -> None:
            print("begin", len(batch), flush=True)
            insert(batch)
            print("end", len(batch), flush=True)

        store.insert = insert_and_say  # type: ignore[method-assign]
        asyncio.run(sink_all(store, long_story(LONG).all(), rows_max=60))
    json.dump(contents(store), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
