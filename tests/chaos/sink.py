"""The audit's sink, killed with -9 again and again on a real Kafka with the real engine, while records are written.

Some topics have the broker's append time. It can't be moved, so two others keep their producer's time, which runs over
the ends of many months. A third of all transactions is aborted. Exit 0: row count, distinct (topic, partition, offset)
and what a plain consumer reads agree, byte for byte; 1: they do not.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.clickhouse.rows import month_of
from infra.topics import wanted
from tests import servers
from tests.integration.audit_fixtures import long_story

EXAMPLE = """example:
  python -m tests.chaos.sink --kills 50             about five minutes
  python -m tests.chaos.sink --kills 50 --seed 7    the same plan again; what real clocks do with it differs"""
PROGRAM = (sys.executable, "-m", "tests.chaos.sink_process")
ROOT = Path(__file__).parents[2]
PARTITIONS = 3
APPENDED = ("alerts", "signals", "outcomes")  # LogAppendTime, as in production
CREATED = ("incidents", "remediations")  # CreateTime: theirs runs on by hours with each transaction
PAUSE_S = (0.02, 0.2)  # between two transactions
START_S, END_S = 120.0, 600.0  # a sink inserts within that, and the last one has everything

Where = tuple[str, int, int]
Content = dict[Where, tuple[int, bytes]]  # append time and bytes, by topic, partition and offset


@dataclass
class Report:
    seed: int
    kills: int = 0
    moments: Counter[str] = field(default_factory=Counter)  # what each was in the middle of
    aborted: int = 0  # records that nobody may see
    months: int = 0
    rows: int = 0
    distinct: int = 0
    on_topics: int = 0
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        when = ", ".join(f"{n} {what}" for what, n in self.moments.most_common())
        lines = [
            f"seed {self.seed}: {self.kills} kills of the sink: {when}",
            f"{self.rows:,} rows, {self.distinct:,} distinct places, {self.on_topics:,} committed records, "
            f"in {self.months} months; {self.aborted:,} aborted ones",
            *(self.wrong[:20] or ["rows, distinct places and topics agree, byte for byte"]),
        ]
        return "\n".join(lines)


class Writer(threading.Thread):
    """Writes transactions until it is told to stop."""

    def __init__(self, bootstrap: str, prefix: str, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._prefix, self._chance = prefix, chance
        self._plain = Producer({"bootstrap.servers": bootstrap})
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": f"{prefix}writer", "linger.ms": 0}
        )
        self._values = [raw.value for raw in long_story(200).all() if raw.value] + [b"\xff no event", b""]
        self._at_ms = int(time.time() * 1000)
        self._over = threading.Event()
        self.aborted = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._producer.init_transactions(60)
            while not self._over.is_set():
                self._transaction()
                self._over.wait(self._chance.uniform(*PAUSE_S))
        except BaseException as error:  # told when it is stopped
            self.error = error

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        self._plain.flush(30)
        if self.error is not None:
            raise self.error
        assert not self.is_alive(), "the writer does not end"

    def _transaction(self) -> None:
        chance, count = self._chance, self._chance.randrange(1, 12)
        self._at_ms += chance.randrange(12 * 3_600_000)
        self._producer.begin_transaction()
        for _ in range(count):
            topic = chance.choice((*APPENDED[1:], *CREATED))
            at_ms = self._at_ms if topic in CREATED else 0
            self._producer.produce(
                self._prefix + topic, chance.choice(self._values), b"c", chance.randrange(PARTITIONS), timestamp=at_ms
            )
        self._producer.flush(30)
        if chance.random() < 1 / 3:
            self.aborted += count
            self._producer.abort_transaction(30)
        else:
            self._producer.commit_transaction(30)
        self._plain.produce(self._prefix + "alerts", chance.choice(self._values), b"c", chance.randrange(PARTITIONS))
        self._plain.poll(0)


@dataclass
class Kills:
    """`place`: URL and database of the engine; nobody else has chDB's directory open meanwhile."""

    bootstrap: str
    prefix: str
    place: tuple[str, str]
    seed: int
    kills: int
    say: Callable[[str], None] = lambda text: None

    def run(self) -> Report:
        chance, report = random.Random(self.seed), Report(self.seed)
        self._make_topics()
        writer = Writer(self.bootstrap, self.prefix, random.Random(self.seed + 1))
        writer.start()
        try:
            for number in range(self.kills):
                moment = self._one_life(chance)
                report.kills += 1
                report.moments[moment] += 1
                self.say(f"kill {number + 1}: {moment}")
        finally:
            writer.stop()
        report.aborted = writer.aborted
        self._drained()
        self._judge(report)
        return report

    # the sink

    def _process(self, verb: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, verb, *self.place, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if verb == "rows" else subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )

    def _one_life(self, chance: random.Random) -> str:
        """Killed any time after its start, or moments into one of its inserts; says what it was in the midst of."""
        process = self._process("sink", self.bootstrap, self.prefix)
        said: list[str] = []
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 6))
        else:
            took_s = self._until_inserting(process, chance.randrange(2, 15), said)
            time.sleep(chance.uniform(0, 1.2 * took_s))
        process.kill()
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == -9, f"it had ended by itself: {process.returncode}"
        said += rest.splitlines()
        said = [line for line in said if not line.startswith("trouble")]  # it goes on trying
        last = said[-1].split()[0] if said else "start"
        return {"start": "before it read", "ready": "before an insert", "begin": "in an insert"}.get(
            last, "between two inserts"
        )

    def _until_inserting(self, process: subprocess.Popen[str], inserts: int, said: list[str]) -> float:
        """So many have begun; returns how long the last one before took."""
        assert process.stdout is not None
        guard = threading.Timer(START_S, process.kill)
        guard.start()
        began_s = took_s = 0.0
        while inserts:
            said.append(process.stdout.readline())
            assert said[-1], f"{inserts} inserts were still to come when it ended: {said[-4:]}"
            if said[-1].startswith("begin"):
                inserts, began_s = inserts - 1, time.monotonic()
            elif said[-1].startswith("end"):
                took_s = time.monotonic() - began_s
        guard.cancel()
        return took_s

    def _drained(self) -> None:
        process = self._process("drain", self.bootstrap, self.prefix)
        process.communicate(timeout=END_S)
        assert process.returncode == 0, f"the last sink ended with {process.returncode}"

    # what is left

    def _judge(self, report: Report) -> None:
        stands = self._on_topics()
        process = self._process("rows")
        out, err = process.communicate(timeout=END_S)
        assert process.returncode == 0, err
        counted, *lines = out.splitlines()
        report.rows, report.distinct = json.loads(counted)
        report.on_topics, keeps = len(stands), Content()
        for line in lines:
            topic, partition, offset, at_ms, raw = json.loads(line)
            keeps[topic, partition, offset] = at_ms, base64.b64decode(raw)
        report.months = len({month_of(at_ms) for at_ms, _ in stands.values()})
        if not report.rows == len(lines) == report.distinct == len(keeps) == report.on_topics:
            report.wrong.append(f"{report.rows} rows, {report.distinct} distinct, {report.on_topics} records")
        report.wrong += [f"{where} is not in the table" for where in sorted({*stands} - {*keeps})]
        report.wrong += [f"{where} is not on its topic" for where in sorted({*keeps} - {*stands})]
        report.wrong += [f"{where} differs" for where in sorted({*stands} & {*keeps}) if stands[where] != keeps[where]]

    def _on_topics(self) -> Content:
        """By a plain consumer of committed records, up to the end that the broker says."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.prefix}judge",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        left = {(self.prefix + topic, n) for topic in (*APPENDED, *CREATED) for n in range(PARTITIONS)}
        consumer.assign([TopicPartition(topic, n, 0) for topic, n in sorted(left)])
        found, ends_s = Content(), time.monotonic() + END_S
        while left:
            assert time.monotonic() < ends_s, f"the topics have no end: {sorted(left)}"
            for message in consumer.consume(1000, 0.5):
                topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
                if (error := message.error()) is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left.discard((topic, partition))
                else:
                    value = message.value()
                    where = (topic.removeprefix(self.prefix), partition, offset)
                    found[where] = message.timestamp()[1], value if isinstance(value, bytes) else b""
        consumer.close()
        return found

    def _make_topics(self) -> None:
        made = []
        for topic in wanted(self.prefix, PARTITIONS):
            name = topic.name.removeprefix(self.prefix)
            late = {name: str(2**62) for name in ("message.timestamp.after.max.ms", "segment.ms")}
            theirs = {"message.timestamp.type": "CreateTime", **late}
            if name in (*APPENDED, *CREATED):
                config = {**topic.config, **(theirs if name in CREATED else {})}
                made.append(NewTopic(topic.name, num_partitions=PARTITIONS, config=config))
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics(made).values():
            future.result(30)


@contextlib.contextmanager
def database(url: str, directory: Path) -> Iterator[tuple[str, str]]:
    """One of its own: on the server at this URL; of chDB, in this directory, which only the sink's process opens."""
    name = f"kills_{secrets.token_hex(4)}"
    if url.startswith("chdb:"):
        yield f"chdb:{directory / 'chdb'}", name
        return
    try:
        yield url, name
    finally:
        admin = servers.connect(url)
        admin.command(f"DROP DATABASE IF EXISTS {name}")
        admin.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.sink",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="how often it is killed (50)")
    parser.add_argument("--seed", type=int, metavar="N", help="the plan (another each time)")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(10_000) if given.seed is None else given.seed
    began_s = time.monotonic()
    try:
        with (
            servers.clickhouse() as engine,
            servers.kafka() as bootstrap,
            tempfile.TemporaryDirectory(prefix="kills-") as place,
            database(engine.url, Path(place)) as where,
        ):
            prefix = f"kills-{secrets.token_hex(4)}."
            report = Kills(bootstrap, prefix, where, seed, given.kills, lambda text: print(text, flush=True)).run()
    except servers.NoServer as reason:
        print(f"it can't be run here: {reason}")
        return 1
    print(report.text())
    print(f"after {time.monotonic() - began_s:.0f} s, on {engine.url.partition(':')[0]}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
