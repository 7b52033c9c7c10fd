"""An audit of any size: one recorded run of the whole pipeline, told again as so many incidents of many clusters.

The engine multiplies it: each copy has a cluster, ids, times, offsets and seqs of its own, in the typed columns and,
where the length allows, in the bytes; its hashes are those of its bytes, and each follows its predecessor's. What
people and the model would have said is the same in all of them, so the table packs better here than in life.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from infra.clickhouse.migrate import migrate
from infra.clickhouse.questions import bind, questions
from infra.clickhouse.rows import NAMES, row_of
from infra.clickhouse.store import Place, Store, connect
from infra.runners.books import Raw
from schemas import events as e
from tests.spec.world import CLUSTER, PD_ID, SMALL, World, live

CLUSTERS = 200
PARTITIONS = 8
GAP_MS = 99_000  # a story every 99 s is 100 million rows a year
CONTROLS_EVERY = 200  # a freeze in so many stories
START_MS = 1_800_000_000_000
STORIES_A_BLOCK = 500
_APPROVAL = "A-00000001"


@dataclass(frozen=True)
class Spent:
    """What a question cost: seconds, and what was read of the table to answer it."""

    s: float
    rows: int
    bytes: int
    found: int


def recorded() -> list[Raw]:
    """A store goes slow, its leaders are evicted and come back, the cluster is frozen and freed; then twenty alerts of
    something that nobody repairs. Every record of every topic, those of a cluster and of `controls`."""

    async def told(world: World) -> None:
        world.adopt()
        world.start()
        world.pd.set_slow(4, 90)
        await world.passes(15)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        world.approve(ask, approval_id=_APPROVAL)
        await world.until(lambda: world.one(e.RemediationClosed), 3600)
        await world.passes(30)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379", status="resolved")
        world.freeze()
        await world.passes(30)
        world.lift()
        for number in range(20):
            instance = f"10.0.{number}.1:20180"
            world.alert("TiKV_server_report_failure_msg_total", instance=instance, store_id=str(number % 5 + 1))
            await world.passes(30)
        await world.passes(60)

    world = live(told, **SMALL)
    every = [raw for held in world.log.records.values() for raw in held]
    return [raw for raw in every if raw.key in (CLUSTER.encode(), b"*")]


class Audits:
    """Audits of several sizes in one chDB below a directory; it belongs to this process."""

    def __init__(self, path: str) -> None:
        self.url = f"chdb:{path}"
        self.client = connect(Place.parse(self.url), None, database=None, settings={})
        self._clients: dict[str, Client] = {}
        raws = recorded()
        self.rows_a_story = sum(raw.topic != "controls" for raw in raws)
        self._keep(raws)
        self._names = [
            *self._distinct("incident_id"),
            *self._distinct("remediation_id"),
            *self._distinct("approval_id"),
        ]

    def close(self) -> None:
        """The next engine of this process may be elsewhere."""
        for client in (self.client, *self._clients.values()):
            client.close()

    def make(self, database: str, rows: int) -> int:
        """A table of about so many rows, as the migrations make it, with its parts merged; returns how many stories."""
        stories = max(1, round(rows / self.rows_a_story))
        migrate(self.url, database=database)
        for first in range(0, stories, STORIES_A_BLOCK):
            self.client.command(
                f"INSERT INTO {database}.events ({', '.join(NAMES)}) {self._told()}",
                parameters={"first": first, "last": min(stories, first + STORIES_A_BLOCK)},
            )
        self.client.command(f"OPTIMIZE TABLE {database}.events FINAL")
        return stories

    def of_story(self, number: int) -> dict[str, str]:
        """What a question about one story is asked with: its cluster, the incident that was repaired, the repair."""
        found = self.client.query(
            f"SELECT {_cluster('k')} AS cluster, {self._renaming('incident_id')} AS incident,"
            f" {self._renaming('remediation_id')} AS remediation"
            " FROM (SELECT *, {k:UInt64} AS k FROM recorded.story) WHERE kind = 'ExecutionAuthorized'",
            {"k": number},
        )
        return {name: str(value) for name, value in zip(found.column_names, found.result_rows[0], strict=True)}

    def ask(self, database: str, sql: str, params: Mapping[str, Any]) -> Spent:
        """Asked anew: nothing that an earlier asking has learned about granules helps."""
        if database not in self._clients:
            fresh = {"use_query_condition_cache": 0}
            self._clients[database] = connect(Place.parse(self.url), None, database=database, settings=fresh)
        answer = json.loads(self._clients[database].raw_query(sql, dict(params), fmt="JSONCompact"))
        statistics = answer["statistics"]
        return Spent(statistics["elapsed"], statistics["rows_read"], statistics["bytes_read"], answer["rows"])

    def _keep(self, raws: Sequence[Raw]) -> None:
        """The run itself, with what a copy has to know of each row: who is before it in its chain."""
        migrate(self.url, database="recorded")
        store = Store(Place.parse(self.url, "recorded"))
        store.insert([row_of(raw, raw.at_ms + 500) for raw in raws])
        store.close()
        self.client.command("""
            CREATE TABLE recorded.story ENGINE = Memory AS
            SELECT
                *,
                row_number() OVER so_far AS of_chain,
                count() OVER whole AS chain_rows,
                if(of_chain = 1, last_value(raw) OVER whole, lagInFrame(raw) OVER so_far) AS before,
                if(of_chain = 1, last_value(event_id) OVER whole, lagInFrame(event_id) OVER so_far) AS before_id,
                max(offset) OVER (PARTITION BY topic) + 1 AS topic_rows
            FROM recorded.events
            LEFT JOIN (
                SELECT topic AS cited, max(offset) + 1 AS cited_rows FROM recorded.events GROUP BY topic
            ) AS inputs ON cited = cause_topic
            WINDOW
                so_far AS (PARTITION BY topic, cluster_id, seq > 0 ORDER BY offset ROWS UNBOUNDED PRECEDING),
                whole AS (
                    PARTITION BY topic, cluster_id, seq > 0 ORDER BY offset
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                )
        """)

    def _distinct(self, column: str) -> list[str]:
        sql = f"SELECT DISTINCT {column} FROM recorded.story WHERE {column} != '' ORDER BY 1"
        return [str(value) for (value,) in self.client.query(sql).result_rows]

    def _renaming(self, text: str, k: str = "k") -> str:
        """Every name of the run, in a text, by one of this copy's that is as long."""
        for name in self._names:
            stem = name[: name.index("-") + 1]
            text = f"replaceAll({text}, '{name}', concat('{stem}', lower(hex(toUInt32(sipHash64({k}, '{name}'))))))"
        return f"replaceAll({text}, '{CLUSTER}', {_cluster(k)})"

    def _bytes(self, raw: str, event_id: str, k: str) -> str:
        return f"replaceOne({self._renaming(raw, k)}, {_own(event_id)}, {_id(event_id, k)})"

    def _told(self) -> str:
        """The rows of the stories from `first` up to `last`."""
        of_cluster, of_partition = (
            f"intDiv(k, {CLUSTERS})",
            f"if(topic = 'controls', intDiv(k, {CONTROLS_EVERY}), intDiv(k, {PARTITIONS}))",
        )
        later = f"k * {GAP_MS}"
        filled = {
            "partition": f"if(topic = 'controls', 0, k % {PARTITIONS})",
            "offset": f"offset + topic_rows * {of_partition}",
            "event_id": _id("event_id", "k"),
            "seq": f"if(seq = 0, 0, of_chain + chain_rows * {of_cluster})",
            "hash": f"lower(hex(SHA256(substring({self._bytes('raw', 'event_id', 'k')}, 11))))",
            "prev_hash": f"multiIf(seq = 0 OR (of_chain = 1 AND k < {CLUSTERS}), '', lower(hex(SHA256(substring("
            f"{self._bytes('before', 'before_id', f'toUInt64(k - if(of_chain = 1, {CLUSTERS}, 0))')}, 11)))))",
            "cause_partition": f"if(cause_topic IN ('', 'tick'), cause_partition, k % {PARTITIONS})",
            "cause_offset": "if(cause_topic IN ('', 'tick'), cause_offset,"
            f" cause_offset + cited_rows * intDiv(k, {PARTITIONS}))",
            "cause_sha": "if(cause_sha = '', '', lower(hex(SHA256(concat(cause_sha, toString(k))))))",
            "digest": "if(digest = '', '', lower(hex(SHA256(concat(digest, toString(k))))))",
            "payload": f"replaceAll({self._renaming('payload')}, '{PD_ID}', toString({PD_ID} + k % {CLUSTERS}))",
            "raw": self._bytes("raw", "event_id", "k"),
            **{
                name: f"{name} + toIntervalMillisecond({later})"
                for name in ("appended_at", "recorded_at", "occurred_at")
            },
            "valid_until": "if(toUnixTimestamp(valid_until) = 0, valid_until,"
            f" valid_until + toIntervalMillisecond({later}))",
            **{
                name: self._renaming(name)
                for name in ("cluster_id", "incident_id", "remediation_id", "approval_id", "text")
            },
        }
        columns = ", ".join(f"{filled.get(name, f'story.{name}')} AS {name}" for name in NAMES)
        return f"""
            SELECT {columns}
            FROM (SELECT number AS k FROM numbers({{first:UInt64}}, {{last:UInt64}} - {{first:UInt64}})) AS copies
            CROSS JOIN recorded.story AS story
            WHERE story.topic != 'controls' OR (k % {CONTROLS_EVERY} = 0 AND (story.kind != 'PolicyAdopted' OR k = 0))
            SETTINGS prefer_column_name_to_alias = 1
        """


def _cluster(k: str) -> str:
    return f"concat('prod-', leftPad(toString({k} % {CLUSTERS}), {len(CLUSTER) - 5}, '0'))"


def _own(event_id: str) -> str:
    """Only what is as long as the new one may be replaced within Avro."""
    return f"if(length({event_id}) = 36, {event_id}, '')"


def _id(event_id: str, k: str) -> str:
    return f"if(length({event_id}) = 36, toString(reinterpretAsUUID(sipHash128({k}, {event_id}))), {event_id})"


def asked_of(audits: Audits, story: int) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every named question as it is asked of one story: name, SQL, bound parameters."""
    about = {**audits.of_story(story), "store": "4"}
    for name, question in questions().items():
        given = {p.name: about[p.name] for p in question.params if p.default is None}
        yield name, question.sql, bind(question, given)
