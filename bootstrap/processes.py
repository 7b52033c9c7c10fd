"""What a process runs: its roles side by side, each in the runner of its verb."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bootstrap.roles import BUILD, WITNESSED, Hands, rules, stage
from infra.settings import ConfigError, Problem, Settings
from streams.pipeline import ACT, EDGES, OBSERVE, Processor, processor

if TYPE_CHECKING:
    from infra.process import Role
    from infra.publisher import Publisher
    from infra.runners.kafka import KafkaSettings
    from infra.runners.owner import ControlsPort
    from infra.telemetry import Metrics

OBSERVING = (*(p.role for p in EDGES), *(p.role for p in OBSERVE))
ACTING = tuple(p.role for p in ACT if p.role != "execute")
APART = ("execute",)  # a process of its own: its kernel timers end it when a step is too late
MakeHands = Callable[["ControlsPort", str], Hands]


async def run_roles(
    settings: Settings, roles: Sequence[str], make_hands: MakeHands, stop: asyncio.Event | None = None
) -> None:
    """Run these roles in this process until SIGTERM. `make_hands(controls, mode_max)` gives what touches the world."""
    import structlog

    from bootstrap.edges import Edges
    from bootstrap.production import kafka_settings
    from infra.garbage import look_seldom
    from infra.process import Process, Role
    from infra.publisher import Publisher
    from infra.runners.kafka import KafkaControls
    from infra.runners.roles import OwnerRole
    from infra.selftest import judge_broker
    from infra.telemetry import Metrics
    from infra.topics import used_by

    log = structlog.get_logger()
    lines = [processor(role) for role in roles]
    log.info("starting", roles=list(roles), kafka=settings.kafka.bootstrap)
    verdict = await judge_broker(kafka_settings(settings, roles[0]))
    kafka = {line.role: kafka_settings(settings, line.role, isolated=verdict.isolated) for line in lines}
    topic_ids: dict[str, str] = {}
    for line in lines:
        topic_ids |= await asyncio.to_thread(used_by, line, kafka[line.role])
    metrics = Metrics()
    reader = next((line.role for line in lines if line.consults), roles[0])  # a principal that may read controls
    controls = KafkaControls(kafka[reader])
    await controls.read()
    hands = make_hands(controls, verdict.allows)
    process = Process(on_up=lambda role, up: metrics.up.labels(role).set(up))
    process.closing.append(lambda: asyncio.to_thread(controls.close))

    def publisher(role: str) -> Publisher:
        """Each role writes as itself: the grants are by role."""
        made = Publisher(kafka[role])
        process.closing.append(made.close)
        return made

    edges = Edges(settings, kafka, publisher, metrics, process)
    for line in lines:
        if line.verb == "maps":
            process.roles.append(_mapping(line, settings, hands, kafka[line.role], publisher(line.role), metrics))
        elif line.verb == "edge":
            process.roles.append(await edges.make(line.role))
        else:
            owners = OwnerRole(
                line,
                rules(line, settings, hands),
                kafka[line.role],
                controls,
                name=hands.owner,
                build=BUILD,
                topic_id=lambda topic: topic_ids.get(topic, ""),
                on_commit=metrics.committed,
                close_books_every_s=settings.kafka.close_books_every_s,
                witness=hands.witness if line.role in WITNESSED else None,
            )
            process.roles.append(Role(line.role, owners.run, owners.stop))
    if watch := getattr(hands.reader, "keep_watch", None):
        process.background.append(watch)
    process.closing.append(lambda: asyncio.to_thread(metrics.close))
    where = metrics.serve(_metrics_listen(settings, roles))
    log.info("running", roles=list(roles), metrics=where, broker=verdict.text)
    look_seldom()
    await process.run(stop)


def _mapping(
    line: Processor, settings: Settings, hands: Hands, kafka: KafkaSettings, publisher: Publisher, metrics: Metrics
) -> Role:
    from infra.process import Role
    from infra.runners.faust_app import FaustStage

    (reads,), (writes,) = line.reads, line.writes
    carried = FaustStage(
        kafka,
        line.role,
        reads,
        writes,
        stage(line, settings, hands).handle,
        publisher,
        isolated=line.role == "validate",
        on_commit=metrics.committed,
    )
    ended = asyncio.Event()

    async def run() -> None:
        await carried.start()
        await ended.wait()

    async def stop() -> None:
        await carried.stop()
        ended.set()

    return Role(line.role, run, stop)


def _metrics_listen(settings: Settings, roles: Sequence[str]) -> str:
    return str(getattr(settings.metrics, _metrics_of(roles)))


def _metrics_of(roles: Sequence[str]) -> str:
    if set(roles) & set(APART):
        return "execute"
    return "act" if set(roles) & set(ACTING) else "observe"


def may_listen(settings: Settings, *processes: Sequence[str]) -> None:
    """Raises ConfigError with every address that these processes are to listen on and that is taken, or no address of
    this host: a server that finds out by itself is restarted without end."""
    wanted: dict[str, str] = {}
    for roles in processes:
        wanted |= {f"{role}.listen": getattr(settings, role).listen for role in roles if role in ("gateway", "console")}
        wanted[f"metrics.{_metrics_of(roles)}"] = _metrics_listen(settings, roles)
    wrong = []
    with contextlib.ExitStack() as held:  # all at once: two of ours must not have the same
        for field, listen in wanted.items():
            host, _, port = listen.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            place = held.enter_context(socket.socket(family))
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                place.bind((host.strip("[]"), int(port)))
                place.listen()
            except OSError as error:
                reason = f"can't listen on {listen}: {error.strerror or error}"
                wrong.append(Problem(field, "text", f"{reason}; does another `steward up` run here?"))
    if wrong:
        raise ConfigError(*wrong)
