"""A past incident decided again: every role's decisions about it, from the record, by the rules of this build.

What the record does not hold is taken from the configuration of now, and said where something differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from infra.replay.execution import executed
from infra.replay.lanes import LANES
from infra.replay.ledger import Ledger
from infra.replay.maps import taken_in, validated
from infra.replay.record import Chosen, Heard, Recorded
from infra.replay.report import Report
from infra.runners.books import Books, Raw
from schemas.topics import partition_of
from streams.pipeline import PROCESSORS

Rules = Callable[[str], Mapping[str, Any]]  # by the most that the broker allows (`on`, `dry_run`): role -> its rules

CONFIGURED = {  # what a role goes by that stands in the configuration, and not on record
    "intake": "clusters.*.alert_labels",
    "incidents": "incidents, model.deadline_s",
    "diagnose": "nothing",
    "tickets": "nothing",
    "notify": "sinks",
    "propose": "playbook",
    "validate": "environment, clusters.*.pd_cluster_id, clusters.*.tier",
    "remediations": "environment, clusters.*.tier, approvals.keys",
    "execute": "environment, execution, clusters.*.pd_cluster_id, clusters.*.tier, approvals.keys",
}


def replay(
    raws: Iterable[Raw],
    rules: Rules,
    *,
    cluster_id: str,
    partitions: int,
    incident: str = "",
    build: str = "",
    roles: Iterable[str] = tuple(CONFIGURED),
) -> Report:
    """Decide again what the record says of an incident; empty: of all of the cluster.

    `raws`: what stands on the cluster's ledgers from their start, or from a closing of the books, with what stands
    there for the partition as a whole; the inputs that are cited; all controls. `build`: of those rules."""
    recorded = Recorded(raws, partitions)
    heard, chosen, report = Heard(recorded.of("controls", 0)), Chosen(recorded, incident), Report(incident)
    on, careful = rules("on"), rules("dry_run")
    builds: dict[str, set[str]] = {}
    wanted = tuple(roles)
    for line in PROCESSORS:
        if line.role not in wanted:
            continue
        if line.role == "intake":
            taken_in(on["intake"], recorded, chosen, report, cluster_id)
        elif line.role == "validate":
            validated((on["validate"], careful["validate"]), recorded, heard, chosen, report, cluster_id)
        else:
            ledger = Ledger(
                line,
                (on[line.role], careful[line.role]) if line.role == "execute" else (on[line.role],),
                recorded,
                heard,
                chosen,
                report,
                cluster_id=cluster_id,
                partition=partition_of(cluster_id, partitions),
                lane=executed if line.role == "execute" else LANES.get(line.role),
            )
            ledger.run()
            builds[line.role] = ledger.builds
    _say_what_may_differ(report, builds, build)
    return report


def begins_of(rules: Rules, partitions: int) -> Callable[[str, Raw], int | None]:
    """Of a record of a ledger, where to begin to fold, if it ends a closing of the books that this build can read."""
    held = rules("on")
    roles = {line.writes[0]: line.role for line in PROCESSORS if line.verb != "maps"}

    def begins(topic: str, raw: Raw) -> int | None:
        books: Books[Any] = Books(roles[topic], topic, raw.partition, partitions, held[roles[topic]])
        return books.begins(raw)

    return begins


def _say_what_may_differ(report: Report, builds: Mapping[str, set[str]], build: str) -> None:
    others = sorted({b for found in builds.values() for b in found} - {build})
    if build and others:
        report.note(f"decided by build {', '.join(b or 'unknown' for b in others)}; again by build {build}")
    for role in dict.fromkeys(d.role for d in report.differing):
        if CONFIGURED[role] != "nothing":
            report.note(
                f"{role} also goes by {CONFIGURED[role]} of the configuration: as it is now, not as it was then"
            )
