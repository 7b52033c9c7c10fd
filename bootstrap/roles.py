"""What each line of the pipeline page is made of: its rules, with the hands that they are given.

All that touches the world is in `Hands` and nowhere else; heavy imports happen in the function that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.settings import Settings
from streams.pipeline import PROCESSORS, Processor

if TYPE_CHECKING:
    from executors.execute import Window, Writer
    from infra.runners.maps import IntakeStage, MapStage
    from infra.runners.owner import ControlsPort
    from schemas.controls import Controls
    from schemas.facts import FactsReader
    from schemas.processors import Decides, Record

BUILD = "0.1.0"
WITNESSED = frozenset({"remediations", "execute"})  # what their ledgers lose, somebody could do again


@dataclass(frozen=True)
class Hands:
    """All that touches the world. Specs, the demo and production differ in nothing else."""

    reader: FactsReader
    writer: Callable[[str, frozenset[str]], Writer]
    window: Callable[[float], Window]
    controls: ControlsPort
    thinker: Any = None  # agents.thinking.Thinker; None: the playbook alone
    deliver: Any = None  # streams.notify.Deliver
    sinks: tuple[str, ...] = ()  # their names, beside `log`
    keys: Mapping[str, Mapping[str, str]] | None = None  # whose signatures count, by kid
    witness: Any = None  # infra.clickhouse.witness.AuditWitness, where who acts may ask the audit
    mode_max: str = "on"  # `dry_run` where the broker can't keep what acting relies on
    owner: str = "steward"


def rules(line: Processor, settings: Settings, hands: Hands) -> Decides[Any]:
    """The rules of a decides or works line, with its hands."""
    match line.role:
        case "incidents":
            from streams.incidents import Incidents, IncidentSettings

            model_s = settings.model.deadline_s if settings.model else None
            return Incidents(IncidentSettings(**settings.incidents.model_dump(), model_deadline_s=model_s))
        case "diagnose":
            from agents.diagnose import Diagnose

            return Diagnose(hands.reader, hands.thinker)
        case "propose":
            from agents.propose import Propose
            from agents.remedies import Times

            model_s = settings.model.deadline_s if settings.model else 60
            return Propose(hands.reader, hands.thinker, Times(**settings.playbook.model_dump()), model_s)
        case "tickets":
            from streams.tickets import Tickets

            return Tickets()
        case "notify":
            from streams.notify import Notify, NotifySettings

            return Notify(hands.deliver, NotifySettings(sinks=hands.sinks))
        case "remediations":
            from streams.remediations import Remediations
            from streams.remediations import Settings as RemediationSettings

            return Remediations(RemediationSettings(settings.environment, hands.keys or {}, settings.cluster_tiers()))
        case "execute":
            from executors.execute import Execute, nobody_audits
            from executors.protocol import Rules

            margins = settings.execution
            return Execute(
                Rules(
                    environment=settings.environment,
                    owner=hands.owner,
                    keys=hands.keys or {},
                    pinned={name: c.pd_cluster_id for name, c in settings.clusters.items()},
                    tiers=settings.cluster_tiers(),
                    mode_max=hands.mode_max,
                    window_s=margins.window_s,
                    proxy_margin_s=margins.proxy_margin_s,
                    poll_s=margins.poll_s,
                    probe_for_s=margins.probe_for_s,
                    look_for_s=margins.look_for_s,
                ),
                hands.reader,
                hands.writer,
                hands.window,
                hands.witness.audited if hands.witness else nobody_audits,
            )
    raise KeyError(f"{line.role} is no decides or works line")


def stage(line: Processor, settings: Settings, hands: Hands) -> IntakeStage | MapStage:
    """A maps line, with what it looks up for each record."""
    from infra.runners.maps import IntakeStage, MapStage

    if line.role == "intake":
        return IntakeStage(settings.kafka.partitions, {n: c.alert_labels for n, c in settings.clusters.items()})
    from schemas.events import ActionProposed
    from schemas.facts import NoFacts
    from schemas.policy import CLUSTER_TIER_DEAREST
    from streams import validate

    async def look(record: Record) -> tuple[Any, Controls]:
        """Facts, or why there are none; and the controls up to their live end."""
        if not isinstance(record.event, ActionProposed):  # it gets no answer
            return None, hands.controls.current()
        controls = await hands.controls.read()
        wanted = validate.look_for(record.event)
        if wanted is None:
            return None, controls
        try:
            return await hands.reader.facts(record.event.cluster_id, wanted), controls
        except NoFacts as error:
            return error, controls

    def check(record: Record, seen: tuple[Any, Controls], now_ms: int) -> Sequence[Any]:
        facts, controls = seen
        cluster = settings.clusters.get(record.event.cluster_id)
        policy = controls.policy if controls.live else controls.policy.model_copy(update={"version": 0})
        return validate.check(
            record,
            facts,
            environment=settings.environment,
            pd_cluster_id=cluster.pd_cluster_id if cluster else None,
            cluster_tier=cluster.tier if cluster else CLUSTER_TIER_DEAREST,
            policy=policy.at_most(hands.mode_max),
            now_ms=now_ms,
        )

    return MapStage(line.role, settings.kafka.partitions, look, check, heard=lambda seen: seen[1].offset)


def handless(**known: Any) -> Hands:
    """For who decides and does nothing: touching the world is a bug there."""
    nobody: Any = None
    return Hands(reader=nobody, writer=nobody, window=nobody, controls=nobody, **known)


def folds(settings: Settings) -> Mapping[str, Decides[Any]]:
    """By topic, the rules that fold its ledger."""
    hands = handless()
    return {
        topic: rules(line, settings, hands)
        for line in PROCESSORS
        if line.verb in ("decides", "works")
        for topic in line.writes
    }
