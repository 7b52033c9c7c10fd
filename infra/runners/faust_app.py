"""A maps stage on Faust: what is safe of it, and nothing else (docs/adr has the evidence).

At least once: a record is acknowledged when all that came of it has been acknowledged, and by nothing else. Faust
itself acknowledges whatever leaves its stream: a record whose agent raised, was cancelled, or that a rebalance made it
skip. So each record is held from the moment it is made (`_HoldingConsumer`), and only `FaustStage` lets go of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, cast

import faust
import structlog
from aiokafka.consumer.fetcher import READ_COMMITTED
from confluent_kafka import KafkaException
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver

from infra.publisher import Publishes, Unreachable, partition_for
from infra.runners.books import Raw
from infra.runners.kafka import KafkaSettings
from infra.runners.maps import Mapped
from infra.runners.owner import NotSafe
from infra.runners.stall import StallWatch
from infra.telemetry import say_where_all_wait
from schemas.chain import Stamped
from schemas.processors import Fenced
from schemas.wire import frame
from streams.pipeline import dead_letters

_log = structlog.get_logger()

START_TIMEOUT_S = 60.0
STOP_WAIT_S = 5.0
LEAVE_WAIT_S = 5.0
RETRY_S, RETRY_MAX_S = 0.5, 5.0
COMMIT_INTERVAL_S = 1.0
STEP_S_MAX = 20.0  # for `handle`, and for each attempt to publish: what hangs is left, and taken up anew
STALL_LOOK_S = 6.0  # a record that waits over two looks, with nothing in flight, is not being delivered
REBALANCE_LOOKS = 10  # while the group has not agreed, nothing is: but that must end too
SESSION_TIMEOUT_S = 10.0  # after it, the partitions of a process that died are given to others


class NotCarried(ValueError):
    """A client setting that Faust's transport can't be given; the message names it."""


def leave(reason: str) -> None:
    """End this process at once, acknowledging nothing; its supervisor starts it again."""
    _log.critical("leaving without acknowledging", reason=reason)
    os._exit(70)


class FaustStage:
    """Carries every record of `reads` through `handle` to `writes` and to the role's dead letters.

    It lives beside whatever else runs in the loop it is started in. `handle` has an answer for everything
    (infra/runners/maps.py); what is raised all the same ends the process by `die`, and so does Faust itself when it
    gives up. Of `die`, only tests return.
    `isolated`: one actor a partition, so that a slow record holds up only its own.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        role: str,
        reads: str,
        writes: str,
        handle: Callable[[Raw], Awaitable[Mapped]],
        publisher: Publishes,
        *,
        isolated: bool = False,
        die: Callable[[str], None] = leave,
        on_commit: Callable[[str, int, int], None] = lambda role, events, inputs: None,
    ) -> None:
        self._settings, self._role, self._reads, self._writes = settings, role, reads, writes
        self._handle, self._publisher, self._isolated = handle, publisher, isolated
        self._die, self._on_commit = die, on_commit
        self._app: Any = None
        self._watch: asyncio.Task[None] | None = None
        self._stall: asyncio.Task[None] | None = None
        self._mine: set[int] = set()
        self._since_s: dict[int, float] = {}  # by partition: when the step began that its record is in
        self._next: dict[int, int] = {}  # by partition: the offset after the last answered one
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving = False
        self.ready = asyncio.Event()  # partitions have been assigned

    async def start(self) -> None:
        """Returns when Faust runs; `ready` is set when it has partitions. Raises Unreachable if no broker answers."""
        _quieten()
        self._app = self._new_app()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._app.start()
            _prove_read_committed(self._app)
        except Exception as error:
            self._leaving = True
            await self.stop()
            text = f"{self._settings.where}: Faust did not start for {self._role}: {type(error).__name__}: {error}"
            raise Unreachable(text) from error
        self._watch = asyncio.create_task(self._watched())
        self._stall = asyncio.create_task(self._look_for_a_stall())

    async def stop(self) -> None:
        """Take no further record, wait for those in flight, commit what was acknowledged, leave the group."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT_S):
                await self._idle.wait()
        if self._watch is not None:
            self._watch.cancel()
        if self._stall is not None:
            self._stall.cancel()
        if self._app is not None:
            # Not `timeout`: Faust swallows cancellations, and waits as long as it likes for a broker that is gone.
            leaving = asyncio.ensure_future(self._app.stop())
            await asyncio.wait([leaving], timeout=LEAVE_WAIT_S)
            if not leaving.done():
                _log.warning("Faust does not stop: left behind, to end with the process", role=self._role)

    def _new_app(self) -> Any:
        app = _App(
            f"{self._settings.prefix}{self._role}",
            env={},  # this process' environment says nothing about Faust
            autodiscover=False,
            processing_guarantee="at_least_once",
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=COMMIT_INTERVAL_S,
            broker_session_timeout=SESSION_TIMEOUT_S,
            broker_check_crcs=self._settings.isolated,  # librdkafka's broker writes transaction markers without one
            topic_allow_declare=False,
            topic_disable_leader=True,
            reply_create_topic=False,
            web_enabled=False,
            stream_wait_empty=False,
            worker_redirect_stdouts=False,
            **transport_of(self._settings.client),
        )
        topic = app.topic(
            self._settings.topic(self._reads),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        app.agent(topic, name=self._role, concurrency=1, isolated_partitions=self._isolated)(self._carry)

        async def assigned(app: Any, partitions: Any, **_: Any) -> None:
            _log.info("partitions assigned", role=self._role, partitions=sorted(p.partition for p in partitions))
            mine = {p.partition for p in partitions}
            self._next = {p: offset for p, offset in self._next.items() if p in mine & self._mine}
            self._mine = mine
            if partitions:
                self.ready.set()

        app.on_partitions_assigned.connect(cast(Any, assigned), weak=False)
        return app

    async def _carry(self, stream: Any) -> None:
        async for event in stream.events():
            if self._leaving or not await self._is_answered(event.message):
                await _for_ever()  # until this is cancelled, or the process is gone: returning would acknowledge
            event.message.ack(self._app.consumer)
            self._next[event.message.partition] = event.message.offset + 1

    async def _is_answered(self, message: Any) -> bool:
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._answer(self._raw(message))
        except Exception as error:
            where = f"{message.topic}/{message.partition}@{message.offset}"
            self._give_up(f"{where}: {type(error).__name__}: {error}")
            return False
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        return True

    def _raw(self, message: Any) -> Raw:
        """The bytes as they were on the wire: Faust's own decoding is not looked at."""
        return Raw(
            self._reads,
            message.partition,
            message.offset,
            round(message.timestamp * 1000),
            message.key,
            message.value,
        )

    async def _answer(self, raw: Raw) -> None:
        try:
            self._since_s[raw.partition] = time.monotonic()
            mapped = await self._handle(raw)
            for stamped in mapped.events:
                await self._publish(raw, self._writes, stamped)
            for stamped in mapped.dead:
                await self._publish(raw, dead_letters(self._role), stamped)
        finally:
            self._since_s.pop(raw.partition, None)
        self._on_commit(self._role, len(mapped.events), 1)

    async def _publish(self, raw: Raw, topic: str, stamped: Stamped) -> None:
        """Until it is acknowledged: an unreachable broker is the world's trouble, and a repeat does no harm."""
        key, value = stamped.event.cluster_id, frame(type(stamped.event), stamped.body)
        partition, wait_s = partition_for(topic, key, self._settings.partitions), RETRY_S
        while True:
            self._since_s[raw.partition] = time.monotonic()
            try:
                await self._publisher.publish(topic, key, value, partition)
            except Unreachable as trouble:
                self._since_s.pop(raw.partition, None)  # it has had its answer
                _log.warning("not acknowledged, trying again", role=self._role, topic=topic, reason=str(trouble))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)
            else:
                return

    async def _watched(self) -> None:
        """Faust stops without a word to its host when it has crashed: then the process leaves too."""
        await self._app.wait_until_stopped()
        if not self._leaving:
            self._give_up(f"Faust stopped: {self._app.crash_reason!r}")

    async def _look_for_a_stall(self) -> None:
        """A step that does not end; or a record that waits while nothing is being answered, seen twice."""
        watch = StallWatch(self._settings, self._role, self._reads)
        suspected: tuple[int, int] | None = None
        again = 0  # how often in a row it was still there
        try:
            while not self._leaving:
                await asyncio.sleep(STALL_LOOK_S)
                now_s = time.monotonic()
                if stuck := [p for p, since_s in self._since_s.items() if now_s - since_s > STEP_S_MAX]:
                    say_where_all_wait()
                    self._give_up(f"the record of partition {stuck[0]} has been in one step for {STEP_S_MAX:g} s")
                    return
                try:
                    waits = await asyncio.to_thread(watch.waiting, set(self._mine), dict(self._next))
                except (KafkaException, NotSafe, Fenced):
                    continue  # the broker's trouble is not a stall
                still = waits is not None and waits == suspected and not self._in_flight
                suspected, again = waits, again + 1 if still else 0
                if waits and again >= (REBALANCE_LOOKS if self._app.rebalancing else 1):
                    say_where_all_wait()
                    self._give_up(f"stalled: {self._reads}/{waits[0]}@{waits[1]} waits and is not delivered")
        finally:
            await asyncio.shield(asyncio.to_thread(watch.close))

    def _give_up(self, reason: str) -> None:
        self._leaving = True
        self._die(f"{self._role}: {reason}")


class _ConsumesOnly(BootStrategy):
    """No producer of Faust's own, no web server."""

    enable_kafka_producer = False
    enable_web = False


class _CommittedThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        """There is no setting for it, and by default agents receive the records of aborted transactions."""
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # aiokafka hands it to its fetcher when it starts
        if not self.app.conf.broker_check_crcs:  # librdkafka's broker answers no sooner than this
            consumer._fetch_max_wait_ms = 100
        return consumer

    async def seek_to_committed(self) -> Any:
        """Faust goes back to it for what it has thrown away in a rebalance; aiokafka seeks nowhere where there is no
        commit yet, and the records of a young group would be gone until the next start."""
        return await self.call_thread(self._seek_back)

    async def _seek_back(self) -> Any:
        consumer = self._ensure_consumer()
        committed = await consumer.seek_to_committed()
        if never := [place for place, offset in committed.items() if not offset]:
            await consumer.seek_to_beginning(*never)
        return committed


class _HoldingConsumer(driver.Consumer):
    """Each message is born with one reference more than Faust knows of: no path of its own acknowledges it."""

    def _new_consumer_thread(self) -> Any:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: Any, record: Any) -> Any:
        message = super()._to_message(tp, record)
        message.incref()
        return message


class _HoldingTransport(driver.Transport):
    Consumer: ClassVar[Any] = _HoldingConsumer


class _App(faust.App):
    BootStrategy = _ConsumesOnly

    def _new_transport(self) -> Any:
        return _HoldingTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """There are no tables to put into them."""


def _prove_read_committed(app: Any) -> None:
    """Pinned versions or not: a stage that would read aborted records does not run."""
    level = app.consumer._thread._consumer._fetcher._isolation_level
    if level != READ_COMMITTED:
        raise AssertionError(f"aiokafka's fetcher reads at isolation level {level}, not read_committed")


async def _for_ever() -> None:
    await asyncio.Event().wait()


def _quieten() -> None:
    """Faust's chatter would drown ours; its warnings are still heard."""
    for name in ("faust", "mode", "aiokafka"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def transport_of(client: Mapping[str, Any]) -> dict[str, Any]:
    """Where librdkafka connects to and how, as Faust spells it. Raises NotCarried rather than connect less securely."""
    known = {key: value for key, value in client.items() if key.startswith(_SECURITY)}
    protocol = str(known.pop("security.protocol", "plaintext")).upper()
    mechanism = str(known.pop("sasl.mechanism", known.pop("sasl.mechanisms", "PLAIN"))).upper()
    username, password = known.pop("sasl.username", None), known.pop("sasl.password", None)
    context = _tls_of(known) if protocol.endswith("SSL") else None
    if known:
        raise NotCarried(f"Faust's transport has no equivalent of {', '.join(sorted(known))}")
    found: dict[str, Any] = {"broker": [f"kafka://{host}" for host in _hosts(client)]}
    if "client.id" in client:
        found["broker_client_id"] = client["client.id"]
    if protocol.startswith("SASL"):
        if mechanism not in _MECHANISMS:
            raise NotCarried(
                f"sasl.mechanism {mechanism}: only {', '.join(_MECHANISMS)} are carried to Faust's transport"
            )
        found["broker_credentials"] = faust.SASLCredentials(
            username=username, password=password, ssl_context=context, mechanism=mechanism
        )
    elif context is not None:
        found["broker_credentials"] = faust.SSLCredentials(context)
    return found


_SECURITY = ("security.", "sasl.", "ssl.", "enable.ssl", "enable.sasl")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def _hosts(client: Mapping[str, Any]) -> list[str]:
    listed = str(client.get("bootstrap.servers", client.get("metadata.broker.list", "")))
    return [host.strip().rpartition("://")[2] for host in listed.split(",") if host.strip()]


def _tls_of(known: dict[str, Any]) -> ssl.SSLContext:
    """Takes what it understands out of `known`."""
    context = ssl.create_default_context(
        cafile=known.pop("ssl.ca.location", None), cadata=known.pop("ssl.ca.pem", None)
    )
    certificate, key = known.pop("ssl.certificate.location", None), known.pop("ssl.key.location", None)
    if certificate is not None:
        context.load_cert_chain(certificate, key, known.pop("ssl.key.password", None))
    verify = known.pop("enable.ssl.certificate.verification", True)
    if known.pop("ssl.endpoint.identification.algorithm", "https") == "none" or not _true(verify):
        context.check_hostname = False
    if not _true(verify):
        context.verify_mode = ssl.CERT_NONE
    return context


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "1")
