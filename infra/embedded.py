"""The broker inside librdkafka, from the very library that confluent-kafka ships: Kafka's protocol without a Kafka.

For looking around and for tests, never for acting on a real cluster: `LIMITS` says why, and infra.selftest finds it out
by itself. It listens on loopback, so other processes of this machine can use it while the one that started it lives.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, TopicPartition, cimpl

from infra.runners.kafka import KafkaSettings
from infra.topics import wanted

LIMITS: tuple[str, ...] = (
    "no isolation: readers see the records of aborted transactions",
    "no fencing: a predecessor that was replaced can still commit",
    "no append time: timestamps are the producer's own",
    "a partition's oldest records are dropped at about 5 MB",
    "everything is forgotten when the process ends",
)

# What a partition of rdkafka_mock.c keeps at most: bytes of batches, and batches. Beyond either, its head is dropped.
PARTITION_BYTES_MAX = 5 * 1024 * 1024
PARTITION_BATCHES_MAX = 100_000
# More than what a batch of one record adds to key and value (61 bytes of batch, up to 31 of record), or a marker takes.
OVERHEAD_BYTES = 100

# A call that comes while the broker's thread is between two waits is answered only after its next wait, of a second.
_BETWEEN_CALLS_S = 0.002
_PRODUCER = 0
_ERROR_BYTES = 512


class DidNotStart(Exception):
    """librdkafka would not start its broker; the message is librdkafka's."""


@dataclass(frozen=True)
class Fill:
    """The fullest partition. `share` is an upper bound: 1.0 means that its head may be cut by the next record."""

    topic: str
    partition: int
    share: float


class EmbeddedBroker:
    """One broker with every topic of the pipeline. Use as a context manager, or call close()."""

    def __init__(self, prefix: str = "", partitions: int = 4, topics: Mapping[str, int] | None = None) -> None:
        """`topics`: further ones, by name (prefix included) and partition count."""
        self.topics: dict[str, int] = {t.name: t.partitions for t in wanted(prefix, partitions)} | dict(topics or {})
        self._prefix, self._partitions = prefix, partitions
        self._library = _library()
        self._client = self._new_client()
        self._cluster: int | None = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self._library.rd_kafka_destroy(self._client)
            raise DidNotStart("librdkafka started no broker")
        # The default of 3 s makes each first member of a group wait for others.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, count in self.topics.items():
            time.sleep(_BETWEEN_CALLS_S)
            if error := self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), count, 1):
                self.close()
                raise DidNotStart(f"librdkafka did not make the topic {name}: error {error}")
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._weighed = _Weighed(self.bootstrap, self.topics)

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(
            {"bootstrap.servers": self.bootstrap}, prefix=self._prefix, partitions=self._partitions, isolated=False
        )

    def fullest(self) -> Fill:
        """As far as has been read along: what was written in the last fraction of a second may be missing.

        A caller that looks every second and stops at 0.8 stops in time, as long as no partition is given a MB a second.
        """
        return self._weighed.fullest()

    def close(self) -> None:
        """Everything on it is gone. Harmless to repeat."""
        cluster, self._cluster = self._cluster, None
        if cluster is None:
            return
        if hasattr(self, "_weighed"):
            self._weighed.close()
        self._library.rd_kafka_mock_cluster_destroy(cluster)
        self._library.rd_kafka_destroy(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _new_client(self) -> int:
        """The client that a cluster hangs on; it connects to nothing. It takes the configuration over."""
        said = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = self._library.rd_kafka_conf_new()
        # Quiet: a client without bootstrap servers complains, and this one is meant to have none.
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", said, _ERROR_BYTES)
        client: int | None = self._library.rd_kafka_new(_PRODUCER, configuration, said, _ERROR_BYTES)
        if not client:
            self._library.rd_kafka_conf_destroy(configuration)
            raise DidNotStart(said.value.decode(errors="replace"))
        return client


class _Weighed:
    """How many bytes each partition was given, by an upper bound: the broker tells nobody how full it is.

    A record counts as its key and value, and every offset (a record's or a marker's) as a batch of its own; batching
    and compression only make it less. A thread reads along, so that nobody waits for the answer; it trails by a fetch.
    """

    def __init__(self, bootstrap: str, topics: Mapping[str, int]) -> None:
        self._bytes: dict[tuple[str, int], int] = {(t, p): 0 for t, count in topics.items() for p in range(count)}
        self._ends: dict[tuple[str, int], int] = dict.fromkeys(self._bytes, 0)
        self._closing = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
                "enable.partition.eof": True,  # says where the markers end
                "fetch.wait.max.ms": 100,
                "allow.auto.create.topics": False,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._bytes])
        self._thread = threading.Thread(target=self._read, name="embedded-fill", daemon=True)
        self._thread.start()

    def fullest(self) -> Fill:
        return max((self._filled(place) for place in self._bytes), key=lambda fill: fill.share)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._consumer.close()

    def _filled(self, place: tuple[str, int]) -> Fill:
        end = self._ends[place]
        weight = self._bytes[place] + end * OVERHEAD_BYTES
        return Fill(*place, max(weight / PARTITION_BYTES_MAX, end / PARTITION_BATCHES_MAX))

    def _read(self) -> None:
        while not self._closing.is_set():
            for message in self._consumer.consume(1000, 0.1):
                place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
                error = message.error()
                if error is None:
                    self._bytes[place] += len(message.key() or b"") + len(message.value() or b"")
                    self._ends[place] = max(self._ends[place], offset + 1)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._ends[place] = max(self._ends[place], offset)


def _library() -> ctypes.CDLL:
    """librdkafka as the Python client has loaded it: symbols of a library are looked for in what it was linked with."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_destroy", None, [pointer]),
        ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, size]),
        ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, size]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, ctypes.c_int]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.c_int]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
