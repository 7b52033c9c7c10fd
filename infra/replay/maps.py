"""What the maps have made of their inputs, made again: signals of alerts, and the judgement of each proposal by the
facts that stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from infra.replay.lanes import FACTS, NO_FACTS
from infra.replay.ledger import GONE, NOT_LIVE, NOT_SAFE
from infra.replay.record import Chosen, Heard, Recorded
from infra.replay.report import NOTHING, Difference, Report, compare
from infra.runners.books import Raw
from infra.runners.maps import IntakeStage, MapStage
from schemas.chain import id_of
from schemas.controls import Controls
from schemas.events import ProposalRefused, ProposalValidated
from schemas.facts import Facts, NoFacts
from schemas.processors import Record
from streams import intake

ALERTS = "alerts"
KEYS = "keys of alerts"


def taken_in(stage: IntakeStage, recorded: Recorded, chosen: Chosen, report: Report, cluster_id: str) -> None:
    """Each signal of the cluster, from the alert that it cites. Repeats are judged as often as they are there."""
    for partition in recorded.partitions_of("signals"):
        for raw in recorded.of("signals", partition):
            record = recorded.record(raw)
            cause = record.head.cause if record else None
            if record is None or cause is None or record.event.cluster_id != cluster_id or not chosen.about(record):
                continue
            given = recorded.at(cause)
            if given is None:
                report.outside[GONE] += 1
                continue
            report.outside[ALERTS] += 1
            differs = _signal(stage, record, given)
            if differs and not _signal(stage, record, replace(given, key=cluster_id.encode())):
                differs = []  # the audit keeps no key of what says by itself whose it is
                report.outside[KEYS] += 1
            if record.head.at_ms != given.at_ms:
                differs.append(Difference("head.at_ms", record.head.at_ms, given.at_ms))
            report.judged("intake", record, differs)


def _signal(stage: IntakeStage, record: Record, given: Raw) -> list[Difference]:
    checked = intake.check(given, given.at_ms, stage.clusters, stage.partitions)
    made = {id_of(intake.identity(signal)): signal for signal in checked.events}
    decided = made.get(record.head.event_id)
    return compare([record.event], [decided] if decided else [])


def validated(
    stages: Sequence[MapStage], recorded: Recorded, heard: Heard, chosen: Chosen, report: Report, cluster_id: str
) -> None:
    """Each judgement of a proposal, by the facts and the controls that it says."""
    for partition in recorded.partitions_of("validations"):
        for raw in recorded.of("validations", partition):
            record = recorded.record(raw)
            cause = record.head.cause if record else None
            if record is None or cause is None or record.event.cluster_id != cluster_id or not chosen.about(record):
                continue
            given = recorded.at(cause)
            about = recorded.record(given) if given else None
            if about is None:
                report.outside[GONE] += 1
                continue
            differs, believed = _again(stages, record, about, heard)
            report.outside.update(believed)
            report.judged("validate", record, differs)


def _again(
    stages: Sequence[MapStage], record: Record, given: Record, heard: Heard
) -> tuple[list[Difference], tuple[str, ...]]:
    first: list[Difference] | None = None
    for which, stage in enumerate(stages):
        for controls, live in _controls(record, heard):
            seen, kind = _seen(record)
            made = stage.made(given, (seen, controls))
            differs = compare([record.event], [s.event for s in made])
            if not differs:
                believed = (kind, *(() if live else (NOT_LIVE,)), *((NOT_SAFE,) if which else ()))
                return [], tuple(k for k in believed if k)
            first = first or differs
    return first or [Difference("event", type(record.event).__name__, NOTHING)], ()


def _controls(record: Record, heard: Heard) -> Iterator[tuple[Controls, bool]]:
    offset = record.head.controls_offset
    # -1: of a build that did not say it, or before there were any
    held = [heard.at(offset)] if offset >= 0 else heard.by_time(record.at_ms)
    for controls in held:
        yield controls, True
    yield replace(held[0], live=False), False


def _seen(record: Record) -> tuple[Facts | NoFacts | None, str]:
    """The facts, or what was said of there being none."""
    match record.event:
        case ProposalValidated(facts=facts):
            return facts, FACTS
        case ProposalRefused(facts=Facts() as facts):
            return facts, FACTS
        case ProposalRefused(objections=(*_, last)):
            return NoFacts(last.code, last.text), NO_FACTS
        case _:
            return None, ""
