"""Each example of the how-to pages does what its page says, on a real Kafka."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.local import kafka as local_kafka
from infra.runners.books import Raw
from schemas.chain import edge
from schemas.events import AlertFired, IncidentClosed, IncidentOpened
from schemas.topics import partition_of
from schemas.values import AlertRef
from schemas.wire import frame
from streams import intake
from tests.docs.examples import ROOT, examples, written

PARTITIONS = 4
CLUSTER = "prod-eu-7"
CLUSTERS = {CLUSTER: {"env": "prod-eu-7"}}
WITHIN_S = 90


@pytest.fixture
def alerts(kafka: str, topic_prefix: str) -> str:
    return _topic(kafka, f"{topic_prefix}alerts")


def _topic(kafka: str, name: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    return name


def _run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _only_record(kafka: str, topic: str) -> Raw:
    """The one record on all partitions of the topic."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    ends, found = time.monotonic() + 30, list[Message]()
    while time.monotonic() < ends and not found:
        found = [m for m in consumer.consume(10, 1.0) if not m.error()]
    consumer.close()
    (message,) = found
    at_ms, key, value = message.timestamp()[1], message.key(), message.value()
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    return Raw("alerts", message.partition() or 0, message.offset() or 0, at_ms, key, value)


def _is_taken(raw: Raw) -> None:
    """What intake makes of it: one signal of that cluster, on its partition, and nothing to complain of."""
    assert raw.key == CLUSTER.encode()
    assert raw.partition == partition_of(CLUSTER, PARTITIONS)
    checked = intake.check(raw, raw.at_ms, CLUSTERS, PARTITIONS)
    assert not checked.dead
    assert not checked.wrong_partition
    (signal,) = checked.events
    assert isinstance(signal, AlertFired)
    assert (signal.cluster_id, signal.name) == (CLUSTER, "PD_cluster_slow_tikv_nums")


@pytest.mark.parametrize("name", ["write_json.py", "write_avro.py"])
def test_an_alert_written_in_python_is_taken(name: str, kafka: str, alerts: str, tmp_path: Path) -> None:
    schema = ROOT / "schemas" / "avro" / "AlertReceived" / "v1.avsc"
    environment = {"BOOTSTRAP": kafka, "ALERTS_TOPIC": alerts, "SCHEMA": str(schema)}
    assert "written" in _run([sys.executable, str(written(name, tmp_path))], tmp_path, environment)
    _is_taken(_only_record(kafka, alerts))


def test_an_alert_written_in_java_is_taken(kafka: str, alerts: str, tmp_path: Path) -> None:
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("java and javac are not both installed")
    jars = sorted(local_kafka.CACHE.glob("kafka-jars-*/kafka-clients-*.jar"))
    if not jars:
        pytest.skip("Kafka's jars are not in .cache")
    program = written("WriteAlert.java", tmp_path)
    command = ["java", "-cp", f"{jars[-1].parent}/*", str(program)]
    assert "written" in _run(command, tmp_path, {"BOOTSTRAP": kafka, "ALERTS_TOPIC": alerts})
    _is_taken(_only_record(kafka, alerts))


def test_an_alert_written_with_kcat_is_taken(kafka: str, alerts: str, tmp_path: Path) -> None:
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed")
    _run(["sh", "-e", str(written("write_alert.sh", tmp_path))], tmp_path, {"BOOTSTRAP": kafka, "ALERTS_TOPIC": alerts})
    _is_taken(_only_record(kafka, alerts))


def test_incidents_are_read_in_python(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    topic = _topic(kafka, f"{topic_prefix}incidents")
    alert = AlertRef(fingerprint="f", name="PD_cluster_slow_tikv_nums", starts_at_ms=1, level="critical")
    story = (
        IncidentOpened(
            cluster_id=CLUSTER,
            incident_id="INC-1",
            family="slow_store",
            title="a store is slow",
            level="critical",
            alert=alert,
        ),
        IncidentClosed(cluster_id=CLUSTER, incident_id="INC-1", code="resolved", text="all alerts have ended"),
    )
    producer = Producer({"bootstrap.servers": kafka})
    for number, event in enumerate(story):
        made = edge(event, str(number), 1)
        producer.produce(topic, frame(type(event), made.body), CLUSTER, partition_of(CLUSTER, PARTITIONS))
    producer.produce(topic, b"\xc3\x01newer..." + b"body", CLUSTER, partition_of(CLUSTER, PARTITIONS))
    assert producer.flush(30) == 0
    environment = {
        **os.environ,
        "BOOTSTRAP": kafka,
        "INCIDENTS_TOPIC": topic,
        "GROUP": f"{topic_prefix}reader",
        "SCHEMAS": str(ROOT / "schemas" / "avro"),
    }
    command = [sys.executable, str(written("read_incidents.py", tmp_path))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None
            said = [reader.stdout.readline().strip() for _ in range(3)]
        finally:
            reader.terminate()
    assert said[0] == "prod-eu-7 INC-1 opened: a store is slow"
    assert said[1] == "prod-eu-7 INC-1 closed: all alerts have ended"
    assert said[2].startswith("an event of a newer build")


def test_every_example_is_run() -> None:
    assert set(examples()) == {
        "write_json.py",
        "write_avro.py",
        "WriteAlert.java",
        "write_alert.sh",
        "read_incidents.py",
        "check_chain.py",  # in tests/integration/test_audit_export.py, over an export
    }
