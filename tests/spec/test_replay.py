"""A past incident decided again: the record of a whole repair comes out the same, and what was planted in it is named.

Every spec ends with a replay of its own record (tests/spec/world.py: live); here is what a replay sees, and what not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from agents.thinking import ModelOverloaded, Reply, Request, ThinkingFailed
from infra.replay.report import Difference, Report, compare
from infra.runners.books import Raw
from infra.settings import ModelSettings
from schemas import events as e
from schemas.chain import Link
from schemas.processors import Record
from schemas.values import Cause, Head, Sample, sha256
from schemas.wire import body_of, decode, frame
from streams.pipeline import BY_NAME, OWNED, PROCESSORS
from tests.spec.world import CLUSTER, SMALL, OtherHands, World, live

Change = Callable[[Raw, e.Event], e.Event | None]  # None: it is taken out


async def repaired(world: World) -> None:
    world.adopt()
    world.start()
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
    world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 60))
    await world.closed()
    world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379", status="resolved")
    await world.until(lambda: world.one(e.IncidentClosed), 900)
    await world.passes(10)


@cache
def past() -> World:
    """One repair from the alert to its end, told once for all these tests."""
    return live(repaired, **SMALL)


def forged(world: World, change: Change) -> list[Raw]:
    """The record with changed events in it, chained anew and with causes that fit: nothing but a replay shows it."""
    made: dict[tuple[str, int, int], Raw] = {}
    links: dict[tuple[str, str], Link] = {}

    def moved(cause: Cause) -> Cause:
        there = made.get((cause.topic, cause.partition, cause.offset))
        return cause.model_copy(update={"sha256": there.cause().sha256}) if there else cause

    for raw in world.log._order:
        if raw.topic not in BY_NAME:
            continue
        decoded = decode(raw.value)
        event, head = change(raw, decoded.event), decoded.head
        if event is None:
            continue
        if isinstance(event, e.InputIgnored):
            inputs = tuple(i.model_copy(update={"cause": moved(i.cause)}) for i in event.inputs)
            event = event.model_copy(update={"inputs": inputs})
        if head.cause:
            head = head.model_copy(update={"cause": moved(head.cause)})
        key = (raw.topic, event.cluster_id)
        if raw.topic in OWNED:
            link = links.get(key, Link())
            head = head.model_copy(update={"seq": link.seq + 1, "prev_hash": link.hash})
        body = body_of(event, None if event.headless else head)
        links[key] = Link(head.seq, sha256(body))
        made[raw.topic, raw.partition, raw.offset] = replace(raw, value=frame(type(event), body))
    return list(made.values())


def where(kind: type[e.Event], nth: int = 1, **changed: Any) -> Change:
    """The nth event of a kind says something else."""
    seen = 0

    def change(raw: Raw, event: e.Event) -> e.Event:
        nonlocal seen
        if not isinstance(event, kind):
            return event
        seen += 1
        return event.model_copy(update=changed) if seen == nth else event

    return change


def paths(report: Report) -> dict[str, list[str]]:
    """Role -> the fields that differ, as they are shown."""
    found: dict[str, list[str]] = {}
    for decision in report.differing:
        found.setdefault(decision.role, []).extend(str(d) for d in decision.differs)
    return found


def test_a_whole_repair_comes_out_the_same() -> None:
    report = past().replayed()
    assert report.ok, report.to_text()
    assert report.same.keys() == {line.role for line in PROCESSORS}, "every role has decided something"
    assert report.outside["words of people"] == 1
    assert report.headline.endswith("inputs from outside taken as recorded")
    assert "come out the same" in report.headline


def test_what_was_changed_in_nothing_is_not_different() -> None:
    """The forger of these tests does not give itself away."""
    assert past().replayed(raws=forged(past(), lambda raw, event: event)).ok


# -- the policy is not the one that was in force -----------------------------------------------------------------------


def policy(**changed: Any) -> Change:
    """As if another policy had been adopted: `a__b`: the key a.b."""

    def change(raw: Raw, event: e.Event) -> e.Event:
        if not isinstance(event, e.PolicyAdopted):
            return event
        adopted = json.loads(event.policy_json)
        for path, value in changed.items():
            at, *names = adopted, *path.split("__")
            for name in names[:-1]:
                at = at.setdefault(name, {})
            at[names[-1]] = value
        return event.model_copy(update={"policy_json": json.dumps(adopted)})

    return change


@pytest.mark.parametrize(
    ("changed", "role", "shown"),
    [
        ({"approval__ask_s": 77}, "remediations", "expires_at_ms: "),
        ({"approval__escalation": ["first", "boss"]}, "remediations", "escalation.1: leads -> boss"),
        ({"approval__medium": "two"}, "remediations", "needed: 1 -> 2"),
        ({"actions__evict_store_leaders__mode": "dry_run"}, "validate", "mode: on -> dry_run"),
        ({"actions__evict_store_leaders__mode": "observe"}, "validate", "plan.policy_rules.0: mode=on -> mode=observe"),
        ({"limits__execution_s_max": 1234}, "execute", "deadline_ms: "),
        ({"limits__leaders_share_max": 0.01}, "validate", "event: ProposalValidated -> ProposalRefused"),
        ({"limits__settling_s": 30}, "execute", "event: ChangeUndone -> nothing"),
        (
            {"notify__notable": "pager", "notify__critical": "pager", "notify__routine": "pager"},
            "notify",
            "sinks.0: log -> pager",
        ),
    ],
)
def test_another_policy_shows_with_the_field_that_differs(changed: dict[str, Any], role: str, shown: str) -> None:
    report = past().replayed(raws=forged(past(), policy(**changed)))
    assert not report.ok
    assert any(line.startswith(shown) for line in paths(report)[role]), report.to_text()


def test_without_the_freeze_that_was_there_what_was_stopped_goes_on() -> None:
    async def spec(world: World) -> None:
        world.freeze()
        ask = await world.asks("evict_store_leaders", store_id=4, keep_s=60)
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionBlocked), 60)

    world = live(spec, **SMALL)
    thawed = forged(world, where(e.Frozen, cluster_id="another"))
    report = world.replayed(raws=thawed)
    (line,) = paths(report)["remediations"]
    assert line.startswith("2.event: ExecutionBlocked: frozen: freeze by anna: spec -> ExecutionAuthorized")


# -- the rules are not those that decided ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "changed", "role", "shown"),
    [
        ("playbook", {"keep_s": 121}, "propose", "params: "),
        ("execution", {"window_s": 14.0}, "execute", "window_s: 15.0 -> 14.0"),
        ("incidents", {"playbook_deadline_s": 21}, "incidents", "2.deadline_ms: "),
    ],
)
def test_another_configuration_shows_and_is_said_to_be_of_now(
    section: str, changed: Mapping[str, Any], role: str, shown: str
) -> None:
    settings = past().settings
    other = settings.model_copy(update={section: getattr(settings, section).model_copy(update=changed)})
    report = past().replayed(settings=other)
    assert any(line.startswith(shown) for line in paths(report)[role]), report.to_text()
    assert any(note.startswith(f"{role} also goes by") and section in note for note in report.notes)


def test_another_build_is_said() -> None:
    report = past().replayed(build="0.2.0")
    assert report.ok
    assert list(report.notes) == ["decided by build unknown; again by build 0.2.0"]


# -- the record was changed, chained anew ------------------------------------------------------------------------------


TAMPERED = [
    ("intake", where(e.AlertFired, level="info"), "level: info -> critical"),
    ("incidents", where(e.IncidentOpened, title="nothing"), "1.title: nothing -> "),
    ("incidents", where(e.IncidentClosed, code="silent_too_long"), "code: silent_too_long -> resolved"),
    ("incidents", where(e.DiagnosisAdopted, confidence=0.1), "confidence: 0.1 -> 0.86"),
    ("diagnose", where(e.DiagnosisMade, cause="hot_region"), "cause: hot_region -> slow_store"),
    ("diagnose", where(e.DiagnosisMade, evidence=()), "evidence: [] -> "),
    ("tickets", where(e.TicketWritten, 2, status="FIXED"), "status: FIXED -> "),
    ("notify", where(e.NotificationStarted, body="all is well"), "body: all is well -> "),
    ("notify", where(e.Delivered, sinks=("nobody",)), 'sinks: ["nobody"] -> ["log"]'),
    ("propose", where(e.ActionProposed, params='{"keep_s":120,"store_id":1}'), "params: "),
    ("validate", where(e.ProposalValidated, tier="LOW"), "tier: LOW -> MEDIUM"),
    ("validate", where(e.ProposalValidated, digest="0" * 64), "digest: 000"),
    ("remediations", where(e.ApprovalAsked, needed=0), "needed: 0 -> 1"),
    ("remediations", where(e.ApprovalCounted, counted=2), "1.counted: 2 -> 1"),
    ("remediations", where(e.ExecutionAuthorized, needed=0), "2.needed: 0 -> 1"),
    ("remediations", where(e.RemediationClosed, code="no_better"), "code: no_better -> succeeded"),
    ("execute", where(e.Claimed, deadline_ms=1), "deadline_ms: 1 -> "),
    ("execute", where(e.StepIntended, undo=None), "undo: null -> "),
    ("execute", where(e.StepIntended, 2, attempt=2), "attempt: 2 -> 1"),
    ("execute", where(e.StepTaken, caller_id="somebody"), "caller_id: somebody -> steward/R-"),
    ("execute", where(e.ChangeUndone, 2, change=1), "change: 1 -> 0"),
    ("execute", where(e.Concluded, outcome="no_better"), "outcome: no_better -> succeeded"),
    ("execute", where(e.Concluded, samples=99), "samples: 99 -> "),
    ("execute", where(e.Concluded, after=Sample(at_ms=1)), "after.at_ms: 1 -> "),
]


@pytest.mark.parametrize(("role", "change", "shown"), TAMPERED, ids=lambda v: v if isinstance(v, str) else "")
def test_an_event_that_was_changed_is_named_with_what_it_should_have_been(
    role: str, change: Change, shown: str
) -> None:
    report = past().replayed(raws=forged(past(), change))
    assert any(line.startswith(shown) for line in paths(report).get(role, [])), report.to_text()


def test_an_answer_that_was_taken_out_is_missed() -> None:
    """A word of a person to which nothing is said any more."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", store_id=4, keep_s=60)
        world.approve(ask, digest="0" * 64)
        await world.until(lambda: world.one(e.ApprovalRejected), 60)
        world.deny(ask)
        await world.closed()
        world.approve(ask)
        await world.until(lambda: len(world.found(e.ApprovalRejected)) == 2, 60)

    world = live(spec, **SMALL)
    first = world.found(e.ApprovalRejected)[0]
    whole = world.replayed()
    assert whole.outside["words of people"] == 3
    counted = [raw for raw in world.log.records["approvals", 0]]
    assert len(counted) == 3

    def silent(raw: Raw, event: e.Event) -> e.Event | None:
        return None if isinstance(event, e.RemediationClosed) else event

    report = world.replayed(raws=forged(world, silent))
    assert "answer: no answer of remediations -> one event at least" in paths(report)["remediations"]
    assert first.code == "wrong_digest"


def test_an_input_that_is_called_ignored_though_it_says_something_is_named() -> None:
    world = past()
    alerted = world.found(e.IncidentOpened)[0]

    def hidden(raw: Raw, event: e.Event) -> e.Event | None:
        decoded = decode(raw.value)
        if raw.topic == "tickets" and decoded.head.cause and isinstance(event, e.TicketWritten) and event.version == 1:
            ignored = e.IgnoredInput(cause=decoded.head.cause, code="changes_nothing")
            return e.InputIgnored(cluster_id=CLUSTER, inputs=(ignored,))
        return event

    report = world.replayed(raws=forged(world, hidden))
    assert "inputs.0: changes_nothing -> TicketWritten" in paths(report)["tickets"], alerted


def test_a_book_that_was_closed_with_something_else_is_named() -> None:
    world = live(repaired, **SMALL, close_books_every_s=60)
    assert world.found(e.BookClosed)

    def cooked(raw: Raw, event: e.Event) -> e.Event:
        if isinstance(event, e.BookClosed) and raw.topic == "remediations":
            return event.model_copy(update={"state": event.state.replace('"ended_ms":0', '"ended_ms":1')})
        return event

    report = world.replayed(raws=forged(world, cooked))
    assert any(line.startswith("state: ") for line in paths(report)["remediations"]), report.to_text()


def test_it_begins_at_closed_books_as_at_the_start() -> None:
    """What stands before the latest closing is not needed."""
    world = live(repaired, **SMALL, close_books_every_s=60)
    whole, kept = world.replayed(), []
    for (topic, partition), raws in world.log.records.items():
        books = world.folded(next(p.role for p in PROCESSORS if p.writes[0] == topic)) if topic in OWNED else None
        begins = [books.begins(raw) for raw in raws] if books else []
        since = next((at for at in begins if at is not None), 0)
        kept += [raw for raw in raws if raw.offset >= since] if partition == 0 else []
    report = world.replayed(raws=[raw for raw in kept if raw.topic in BY_NAME])
    assert report.ok, report.to_text()
    assert 0 < sum(report.same.values()) < sum(whole.same.values())


# -- one incident ------------------------------------------------------------------------------------------------------


def test_of_another_incident_nothing_is_said() -> None:
    async def spec(world: World) -> None:
        await repaired(world)
        world.alert("TiKV_node_restart", instance="10.0.4.1:20180")
        await world.until(lambda: len(world.found(e.IncidentOpened)) == 2, 60)
        await world.passes(60)

    world = live(spec, **SMALL)
    first, second = (i.incident_id for i in world.found(e.IncidentOpened))
    raws = forged(world, where(e.Concluded, outcome="no_better"))
    about_first, about_second = world.replayed(first, raws=raws), world.replayed(second, raws=raws)
    assert "execute" in paths(about_first)
    assert about_second.ok, about_second.to_text()
    assert about_second.headline.startswith(
        f"{sum(about_second.same.values())} decisions of {second} come out the same"
    )
    assert about_second.same.keys() >= {"intake", "incidents", "diagnose", "tickets", "notify", "propose"}
    assert sum(about_second.same.values()) < sum(about_first.same.values())


# -- a model -----------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """A thought that is over at once."""

    answer: str | ThinkingFailed

    def done(self) -> bool:
        return True

    def result(self) -> Reply:
        if isinstance(self.answer, ThinkingFailed):
            raise self.answer
        return Reply(self.answer, "claude-of-then")

    def cancel(self) -> None:
        return None


@dataclass
class Model:
    """agents.thinking.Thinker: says what a spec has it say, to each of its two questions."""

    diagnosis: str | ThinkingFailed
    proposal: str | ThinkingFailed
    model: str = "claude-of-then"

    async def ask(self, request: Request) -> Reply:
        return self.begin(request).result()

    def begin(self, request: Request) -> Said:
        return Said(self.diagnosis if request.prompt == "diagnosis" else self.proposal)


def diagnosis(**changed: Any) -> str:
    said = {"cause": "slow_store", "confidence": 0.8, "summary": "store 4 is slow", "cited": ["E1"], "ruled_out": []}
    return json.dumps(said | changed)


def proposal(action: str = "evict_store_leaders", why: str = "it is slow", **params: Any) -> str:
    return json.dumps({"proposal": {"action": action, "params": params}, "why": why, "cited": ["E1"]})


def with_a_model(said: str | ThinkingFailed, proposes: str | ThinkingFailed) -> World:
    class Thinking(OtherHands):
        def __init__(self, **world: Any) -> None:
            super().__init__(**world)
            model = ModelSettings.model_validate({"name": "claude-of-then", "api_key": "env:KEY", "deadline_s": 30})
            self.settings = self.settings.model_copy(update={"model": model})

        def changed(self, made: Any) -> dict[str, Any]:
            return {"thinker": Model(said, proposes)}

    async def spec(world: World) -> None:
        world.start()
        world.pd.set_slow(4, 90)
        await world.passes(15)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        await world.until(lambda: world.one(e.ActionProposed) or world.one(e.NothingProposed), 60)
        await world.passes(5)

    return live(spec, Thinking, **SMALL)  # and there everything is decided again


@pytest.mark.parametrize(
    ("said", "proposes", "outside"),
    [
        (diagnosis(), proposal(store_id=4, keep_s=300), "replies of a model"),
        (
            diagnosis(),
            proposal(store_id=1, keep_s=300),
            "replies of a model",
        ),  # E1 does not name it: the playbook's rule
        (diagnosis(), proposal("nothing"), "replies of a model"),
        (diagnosis(), proposal("remove_tombstones", store_ids=[1]), "replies of a model"),
        (diagnosis(), ModelOverloaded("529"), "failures of a model"),
        (diagnosis(cause="unknown"), proposal("nothing"), "replies of a model"),
        (diagnosis(cited=["E99"]), proposal("nothing"), "replies of a model"),
        (diagnosis(confidence=7), proposal("nothing"), "replies of a model"),
        ("I think that", proposal("nothing"), "replies of a model"),
        (diagnosis(summary="x" * 2500), proposal("nothing"), "replies of a model that are cut on record"),
        (ModelOverloaded("529"), proposal("nothing"), "failures of a model"),
        (diagnosis(cause="uneven_load"), proposal("nothing"), "replies of a model"),
        (diagnosis(cause="tombstones_left"), ModelOverloaded("529"), "failures of a model"),
    ],
)
def test_a_models_words_are_taken_as_they_were_and_checked_again(
    said: str | ThinkingFailed, proposes: str | ThinkingFailed, outside: str
) -> None:
    report = with_a_model(said, proposes).replayed()
    assert report.ok
    assert report.outside[outside] >= 1, report.to_text()


@pytest.mark.parametrize(
    ("change", "role", "shown"),
    [
        (where(e.DiagnosisMade, 2, reply=diagnosis(cause="hot_region")), "diagnose", "cause: slow_store -> hot_region"),
        (where(e.DiagnosisMade, 2, prompt_sha256="0" * 64), "diagnose", "prompt_sha256: 000"),
        (where(e.ActionProposed, reply=proposal("nothing")), "propose", "event: ActionProposed"),
        (where(e.ActionProposed, reply=proposal(store_id=4, keep_s=301)), "propose", "params: "),
        (where(e.ActionProposed, why="because"), "propose", "why: because -> it is slow"),
    ],
)
def test_other_words_of_a_model_come_to_something_else(change: Change, role: str, shown: str) -> None:
    world = with_a_model(diagnosis(), proposal(store_id=4, keep_s=300))
    report = world.replayed(raws=forged(world, change))
    assert any(line.startswith(shown) for line in paths(report)[role]), report.to_text()


# -- what is shown -----------------------------------------------------------------------------------------------------


def lifted(**said: Any) -> e.Lifted:
    return e.Lifted(**{"cluster_id": "*", "by": "anna", "reason": "over", **said})


def test_a_difference_names_its_field_and_both_values() -> None:
    assert compare([lifted()], [lifted()]) == []
    assert [str(d) for d in compare([lifted()], [lifted(by="bert")])] == ["by: anna -> bert"]
    assert compare([lifted()], []) == [Difference("event", "Lifted: over", "nothing")]
    assert compare([lifted()], [lifted(), lifted()]) == [Difference("2.event", "nothing", "Lifted: over")]
    halted = e.Halted(cluster_id="*", by="anna", reason="over")
    assert [str(d) for d in compare([lifted()], [halted])] == ["event: Lifted: over -> Halted: over"]


def test_not_a_number_is_the_same_as_itself() -> None:
    def sampled(value: float) -> e.Sampled:
        sample = Sample(at_ms=1, figures={"x": value})
        return e.Sampled(cluster_id="c", remediation_id="R", attempt=1, sample=sample)

    assert compare([sampled(float("nan"))], [sampled(float("nan"))]) == []
    assert [d.path for d in compare([sampled(float("nan"))], [sampled(1.0)])] == ["sample.figures.x"]


def test_what_others_have_written_moves_no_cursor() -> None:
    report = Report("INC-1")
    record = Record("controls", 0, 7, 1, Head(event_id="x", at_ms=1), lifted(), Cause(topic="controls"))
    report.judged("remediations", record, compare([lifted(reason="\x1b[2J")], [lifted()]))
    assert "\x1b" not in report.to_text()
    assert report.headline.startswith("DIFFERENT: 1 of 1 decisions of INC-1 come out differently")
    assert report.to_dict()["differing"][0]["differs"] == [{"path": "reason", "recorded": "\x1b[2J", "decided": "over"}]
