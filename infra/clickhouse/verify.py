"""Is the record what was written? Recomputes every chain and every cited input from the bytes alone.

A chain is one cluster on one owned topic (each topic of a decides or works line). The first break of each chain is
named; what follows a break can't be trusted either, and is not judged further. What somebody else has written on a
topic is counted and listed apart, and breaks nothing; a link that was replaced by such a record is missing from its
chain all the same. Pure, but for the readers at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.clickhouse.rows import AT, COLUMNS, FOREIGN, ROW_VERSION, UNREADABLE, Row, row_of, row_of_event
from infra.clickhouse.sink import TopicReader
from infra.clickhouse.store import Store
from infra.runners.books import Raw
from schemas.chain import Link
from schemas.events import DeadLetter, Event, InputIgnored, Unreadable
from schemas.values import Cause, Head, sha256
from schemas.wire import Decoded, decode, unframed
from streams.pipeline import BY_NAME, PROCESSORS, TOPICS, may_stand_on

Kind = Literal["edited", "missing", "repeated", "out_of_order", "cut", "cause", "twofold"]
Chain = tuple[str, str]  # cluster, topic
Partition = tuple[str, int]

OWNED = frozenset(t for line in PROCESSORS if line.verb in ("decides", "works") for t in line.writes)
PUBLIC = frozenset(t.name for t in TOPICS if not t.keeps_all)  # anybody writes there
FOREIGN_LISTED_MAX = 100
POLL_S = 0.25
QUIET_POLLS = 3


@dataclass(frozen=True)
class Kept:
    """One record as a source holds it; `stored` is its row where the source is the table."""

    raw: Raw
    stored: Row | None = None


@dataclass(frozen=True)
class Break:
    """Where a chain ceases to be what was written. `seq` 0: the record is not chained."""

    kind: Kind
    cluster_id: str
    topic: str
    partition: int
    offset: int
    seq: int
    text: str

    def __str__(self) -> str:
        seq = f" seq {self.seq}" if self.seq else ""
        return f"{self.kind}: {self.cluster_id or '-'} {self.topic}/{self.partition}@{self.offset}{seq}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Foreign:
    """A record that its topic's writer has not written: it can't be read, is no event of this topic, or has no seq."""

    key: str
    topic: str
    partition: int
    offset: int
    text: str

    def __str__(self) -> str:
        return f"foreign: {self.topic}/{self.partition}@{self.offset} key {self.key[:80]!r}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Verdict:
    """`links`: how each chain ends. `held`: SHA-256 by place, to compare with another source. `foreign`: the first
    ones; all are counted."""

    source: str
    breaks: tuple[Break, ...]
    counts: Mapping[str, int]
    links: Mapping[Chain, Link] = field(default_factory=dict)
    held: Mapping[Partition, Mapping[int, bytes]] = field(default_factory=dict)
    foreign: tuple[Foreign, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.breaks

    @property
    def headline(self) -> str:
        c = self.counts
        if self.breaks:
            return f"BROKEN ({self.source}): {len(self.breaks)} of {c['chains']} chains; first {self.breaks[0]}"
        foreign = f"; {c['foreign']} foreign records, of no chain" if c.get("foreign") else ""
        return (
            f"whole ({self.source}): {c['records']} records, {c['chains']} chains, {c['causes']} causes agree{foreign}"
        )

    def to_text(self) -> str:
        counts = ", ".join(f"{name} {value}" for name, value in self.counts.items() if value)
        listed = [*(f"  {b}" for b in self.breaks), *(f"  {f}" for f in self.foreign)]
        return "\n".join([self.headline, *listed, f"  {counts or 'nothing on record'}"])

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "text": self.headline,
            "source": self.source,
            "breaks": [b.to_dict() for b in self.breaks],
            "foreign": [f.to_dict() for f in self.foreign],
            "counts": dict(self.counts),
            "tails": [
                {"cluster_id": cluster, "topic": topic, "seq": link.seq, "hash": link.hash.hex()}
                for (cluster, topic), link in sorted(self.links.items())
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def verify(
    rows: Iterable[Kept], *, source: str = "rows", tails: Mapping[Chain, Link] | None = None, cluster: str | None = None
) -> Verdict:
    """Judge records that come, partition by partition, in offset order. `tails`: ends of chains as known from elsewhere
    (closed books, a checkpoint): a chain that ends before is cut. `cluster`: judge its chains alone; other records only
    serve as inputs that it cites."""
    reading = _Reading(cluster)
    for kept in rows:
        reading.take(kept)
    return reading.verdict(source, tails or {})


@dataclass
class _Chain:
    link: Link = field(default_factory=Link)
    at: tuple[int, int] = (0, -1)  # place of the last link
    gap: tuple[int, int] = (0, -1)  # seqs that were missing at its first break
    broken: bool = False


@dataclass
class _Reading:
    cluster: str | None
    chains: dict[Chain, _Chain] = field(default_factory=dict)
    breaks: dict[Chain, Break] = field(default_factory=dict)
    held: dict[Partition, dict[int, bytes]] = field(default_factory=dict)
    cited: list[tuple[str, Raw, int, Cause]] = field(default_factory=list)
    records: int = 0
    repeated_rows: int = 0
    unreadable: int = 0
    foreign: int = 0
    foreigners: list[Foreign] = field(default_factory=list)
    strays: dict[Chain, list[Link]] = field(default_factory=dict)  # as an owner that starts anew counts foreign records
    other_versions: int = 0
    causes: int = 0
    inputs_ahead: int = 0
    inputs_expired: int = 0

    def take(self, kept: Kept) -> None:
        raw = kept.raw
        held = self.held.setdefault((raw.topic, raw.partition), {})
        digest = sha256(raw.value or b"")
        again = held.get(raw.offset)
        if again is None:
            held[raw.offset] = digest
        try:
            decoded = decode(raw.value)
        except Unreadable as error:
            self._unreadable(kept, error, again, digest)
            return
        cluster_id = decoded.event.cluster_id
        if self._is_other(cluster_id) and (kept.stored is None or self._is_other(kept.stored[AT["cluster_id"]])):
            return
        if again is not None and again != digest:
            self._break("twofold", cluster_id, raw, decoded.head.seq, "the same offset is on record with other bytes")
            return
        if kept.stored is not None and (wrong := self._differing(kept.stored, raw, decoded)):
            self._break("edited", cluster_id, raw, decoded.head.seq, wrong)
        if again is not None:
            self.repeated_rows += 1
            return
        self.records += 1
        if not _stands_well(raw.topic, decoded.event):
            self._foreign(cluster_id, raw, f"{type(decoded.event).__name__} is no event of this topic")
            return
        if raw.topic in OWNED and decoded.head.seq < 1:
            self._foreign(cluster_id, raw, f"{type(decoded.event).__name__} without a seq: its owner gives one to each")
            return
        if raw.topic in OWNED:
            self._follow(raw, decoded)
        for cause in causes_of(decoded.event, decoded.head):
            self._cite(cluster_id, raw, decoded.head.seq, cause)

    def _is_other(self, cluster_id: str) -> bool:
        return self.cluster is not None and cluster_id != self.cluster

    def _unreadable(self, kept: Kept, error: Unreadable, again: bytes | None, digest: bytes) -> None:
        raw = kept.raw
        cluster_id = kept.stored[AT["cluster_id"]] if kept.stored else (raw.key or b"").decode("utf-8", "replace")
        if self._is_other(cluster_id):
            return
        if again is not None and again != digest:
            self._break("twofold", cluster_id, raw, 0, "the same offset is on record with other bytes")
            return
        self.repeated_rows += again is not None
        self.records += again is None
        self.unreadable += again is None
        if kept.stored is not None and (wrong := self._differing(kept.stored, raw, None)):
            self._break("edited", cluster_id, raw, 0, wrong)
        elif again is None and raw.topic not in PUBLIC:  # its sole writer writes nothing that can't be read
            self._foreign(cluster_id, raw, f"it can't be read: {error}")

    def _foreign(self, key: str, raw: Raw, text: str) -> None:
        self.foreign += 1
        if len(self.foreigners) < FOREIGN_LISTED_MAX:
            self.foreigners.append(Foreign(key, raw.topic, raw.partition, raw.offset, text))
        if raw.topic in OWNED:
            strays = self.strays.setdefault((key, raw.topic), [])
            last = self.chains[key, raw.topic].link if (key, raw.topic) in self.chains else Link()
            last = strays[-1] if strays and strays[-1].seq >= last.seq else last
            strays.append(Link(last.seq + 1, sha256(unframed(raw.value or b""))))

    def _goes_on_behind(self, chain: Chain, head: Head) -> bool:
        """Does it continue a foreign record? An owner that starts anew can't tell it from one of a newer build, and
        counts it as a link (infra.runners.books: restore). Nobody else can: the hash of that record is in this one."""
        strays = self.strays.get(chain, [])
        found = any((s.seq + 1, s.hash) == (head.seq, head.prev_hash) for s in strays)
        if strays:
            self.strays[chain] = [s for s in strays if s.seq >= head.seq]
        return found

    def _differing(self, stored: Row, raw: Raw, decoded: Decoded | None) -> str:
        """Which columns are not what the bytes say."""
        if stored[AT["row_version"]] != ROW_VERSION:
            self.other_versions += 1
            return ""
        expected = row_of_event(raw, decoded, 0) if decoded else row_of(raw, 0)
        if stored[AT["hash"]] != expected[AT["hash"]]:
            return "its bytes are not those that were recorded: the hash kept beside them is another one"
        wrong = [
            column.name
            for column, have, want in zip(COLUMNS, stored, expected, strict=True)
            if column.name not in ("recorded_at", "payload", "raw") and not _same(have, want)
        ]
        have, want = stored[AT["payload"]], expected[AT["payload"]]
        if have != want and not (decoded and _as_written(have, want, decoded.event)):
            wrong.append("payload")
        return f"not what its bytes say: {', '.join(wrong)}" if wrong else ""

    def _follow(self, raw: Raw, decoded: Decoded) -> None:
        head, cluster_id = decoded.head, decoded.event.cluster_id
        chain = self.chains.setdefault((cluster_id, raw.topic), _Chain())
        link, broken = chain.link, (cluster_id, raw.topic) in self.breaks
        if self._goes_on_behind((cluster_id, raw.topic), head) and head.seq > link.seq:
            chain.link, chain.at = Link(head.seq, sha256(decoded.body)), (raw.partition, raw.offset)
            return
        if head.seq <= link.seq:
            if chain.gap[0] <= head.seq <= chain.gap[1]:
                first = self.breaks[cluster_id, raw.topic]
                if first.kind == "missing":
                    text = f"seq {head.seq} comes after seq {link.seq}"
                    self.breaks[cluster_id, raw.topic] = _broken("out_of_order", cluster_id, raw, head.seq, text)
            elif not broken:
                self._break("repeated", cluster_id, raw, head.seq, f"the seq comes again after seq {link.seq}")
            return
        if not broken and head.seq > link.seq + 1:
            gap = (link.seq + 1, head.seq - 1)
            what = f"seq {gap[0]}" if gap[0] == gap[1] else f"seq {gap[0]} to {gap[1]}"
            self._break("missing", cluster_id, raw, head.seq, f"{what} not on record before it")
            chain.gap = gap
        elif not broken and head.prev_hash != link.hash:
            partition, offset = chain.at
            before = Raw(raw.topic, partition, offset, 0, None, None)
            text = f"it is not what it was when seq {head.seq} was written"
            if link.seq == 0:
                before, text = raw, "it is not the first of its chain, as its seq says"
            self._break("edited", cluster_id, before, link.seq or head.seq, text)
        chain.link, chain.at = Link(head.seq, sha256(decoded.body)), (raw.partition, raw.offset)

    def _cite(self, cluster_id: str, raw: Raw, seq: int, cause: Cause) -> None:
        if cause.topic == "tick" or cause.offset < 0:
            return
        found = self.held.get((cause.topic, cause.partition), {}).get(cause.offset)
        if found is not None and found == cause.sha256:
            self.causes += 1
        else:
            self.cited.append((cluster_id, raw, seq, cause))

    def _settle(self, cluster_id: str, raw: Raw, seq: int, cause: Cause) -> None:
        """An input that was not there, or not the same, when it was cited: the source may have had it later."""
        place = f"{cause.topic}/{cause.partition}@{cause.offset}"
        held = self.held.get((cause.topic, cause.partition), {})
        found = held.get(cause.offset)
        if found == cause.sha256:
            self.causes += 1
        elif found is not None:
            self._break("cause", cluster_id, raw, seq, f"its input {place} is not what it was when it was answered")
        elif not held or cause.offset > max(held):
            self.inputs_ahead += 1
        elif cause.topic in BY_NAME and not BY_NAME[cause.topic].keeps_all and cause.offset < min(held):
            self.inputs_expired += 1
        else:
            self._break("missing", cluster_id, raw, seq, f"its input {place} is not on record")

    def _break(self, kind: Kind, cluster_id: str, raw: Raw, seq: int, text: str) -> None:
        self.breaks.setdefault((cluster_id, raw.topic), _broken(kind, cluster_id, raw, seq, text))

    def verdict(self, source: str, tails: Mapping[Chain, Link]) -> Verdict:
        for cluster_id, raw, seq, cause in self.cited:
            self._settle(cluster_id, raw, seq, cause)
        for (cluster_id, topic), known in sorted(tails.items()):
            if self._is_other(cluster_id):
                continue
            chain = self.chains.get((cluster_id, topic), _Chain())
            end = Raw(topic, *chain.at, 0, None, None)
            if chain.link.seq < known.seq:
                text = f"the chain ends at seq {chain.link.seq}; it is known to have reached seq {known.seq}"
                self._break("cut", cluster_id, end, chain.link.seq, text)
            elif chain.link.seq == known.seq and chain.link.hash != known.hash:
                self._break("edited", cluster_id, end, known.seq, "the chain ends in another event than is known")
        counts = {
            "records": self.records,
            "chains": len(self.chains),
            "causes": self.causes,
            "unreadable": self.unreadable,
            "foreign": self.foreign,
            "repeated_rows": self.repeated_rows,
            "inputs_ahead": self.inputs_ahead,
            "inputs_expired": self.inputs_expired,
            "rows_of_other_versions": self.other_versions,
        }
        breaks = tuple(sorted(self.breaks.values(), key=lambda b: (b.topic, b.partition, b.offset, b.cluster_id)))
        links = {key: chain.link for key, chain in self.chains.items()}
        return Verdict(source, breaks, counts, links, self.held, tuple(self.foreigners))


def _broken(kind: Kind, cluster_id: str, raw: Raw, seq: int, text: str) -> Break:
    return Break(kind, cluster_id, raw.topic, raw.partition, raw.offset, seq, text)


def _stands_well(topic: str, event: Event) -> bool:
    return may_stand_on(topic, event) if topic in BY_NAME else isinstance(event, DeadLetter)


def _same(have: Any, want: Any) -> bool:
    return bool(have == want or (have != have and want != want))  # NaN is NaN here


def causes_of(event: Event, head: Head) -> list[Cause]:
    """Every input that an event answers."""
    found = [head.cause] if head.cause else []
    if isinstance(event, InputIgnored):
        found += [i.cause for i in event.inputs]
    return found


def _as_written(stored: str, full: str, event: Event) -> bool:
    """Was this JSON made by a build that knew fewer fields? Then it lacks only what is at its default now."""
    try:
        have = json.loads(stored)
    except ValueError:
        return False
    return _between(json.loads(event.model_dump_json(exclude_defaults=True)), have, json.loads(full))


def _between(least: Any, have: Any, most: Any) -> bool:
    if isinstance(have, dict) and isinstance(least, dict) and isinstance(most, dict):
        return least.keys() <= have.keys() <= most.keys() and all(
            _between(least.get(k, most[k] if not isinstance(most[k], dict) else {}), v, most[k])
            for k, v in have.items()
        )
    if isinstance(have, list) and isinstance(least, list) and isinstance(most, list):
        return len(least) == len(have) == len(most) and all(map(_between, least, have, most))
    return bool(have == most)


# -- two sources ----------------------------------------------------------------------------------------------------


def compare(a: Verdict, b: Verdict, *, live: bool = False) -> Verdict:
    """Do two sources hold the same? Names the first difference of each partition, and repeats the breaks of both.

    `live`: the log goes on, and `a` was read after `b`: what it has beyond the end of `b` is new, and not judged."""
    breaks = []
    for topic, partition in sorted({*a.held, *b.held}):
        if found := _difference(a, b, topic, partition, live):
            breaks.append(found)
    counts = {
        "records": min(a.counts["records"], b.counts["records"]),
        "chains": len({*a.links, *b.links}),
        "causes": min(a.counts["causes"], b.counts["causes"]),
        "partitions": len({*a.held, *b.held}),
    }
    both = f"{a.source} and {b.source}"
    return Verdict(both, (*breaks, *a.breaks, *b.breaks), counts, a.links, a.held, a.foreign or b.foreign)


def _difference(a: Verdict, b: Verdict, topic: str, partition: int, live: bool) -> Break | None:
    left, right = a.held.get((topic, partition), {}), b.held.get((topic, partition), {})
    forgets = topic in BY_NAME and not BY_NAME[topic].keeps_all
    begin = max(min(left, default=0), min(right, default=0)) if forgets and left and right else 0
    end = max(right, default=-1)
    for offset in sorted({*left, *right}):
        if offset < begin or (live and offset > end):
            continue
        if (one := left.get(offset)) != (two := right.get(offset)):
            break
    else:
        return None

    def at(kind: Kind, text: str) -> Break:
        return Break(kind, "", topic, partition, offset, 0, text)

    if one is not None and two is not None:
        return at("edited", f"{a.source} and {b.source} hold different bytes")
    lacks, has, other = (a.source, b.source, left) if one is None else (b.source, a.source, right)
    if not other or offset > max(other):
        return at("cut", f"{lacks} ends before it; {has} has it")
    return at("missing", f"{lacks} does not have it; {has} does")


# -- sources --------------------------------------------------------------------------------------------------------


def verify_store(store: Store, cluster: str | None = None, tails: Mapping[Chain, Link] | None = None) -> Verdict:
    """From ClickHouse alone. Blocks."""
    return verify(kept_in(store), source="clickhouse", tails=tails, cluster=cluster)


def kept_in(store: Store) -> Iterator[Kept]:
    """Every row of the table itself, repeated ones too: the view would hide what is to be found."""
    columns = ", ".join(
        f"toUnixTimestamp64Milli({c.name}) AS {c.name}_ms" if c.type.startswith("DateTime64") else c.name
        for c in COLUMNS
    )
    for row in store.stream(f"SELECT {columns} FROM events ORDER BY topic, partition, offset, recorded_at"):
        stored: Row = tuple(list(v) if isinstance(v, (list, tuple)) else v for v in row)
        keyed = stored[AT["kind"]] in (UNREADABLE, FOREIGN)  # their cluster is the key: the bytes don't say it
        raw = Raw(
            topic=stored[AT["topic"]],
            partition=stored[AT["partition"]],
            offset=stored[AT["offset"]],
            at_ms=stored[AT["appended_at"]],
            key=stored[AT["cluster_id"]].encode() if keyed else None,
            value=bytes(stored[AT["raw"]]),
        )
        yield Kept(raw, stored)


async def verify_topics(
    reader: TopicReader, cluster: str | None = None, tails: Mapping[Chain, Link] | None = None
) -> Verdict:
    """From Kafka alone: everything that is there when it is begun, and what comes while it is read."""
    reading = _Reading(cluster)
    await reader.seek({})
    quiet = 0
    while quiet < QUIET_POLLS:
        raws = await reader.poll(5000, POLL_S)
        for raw in raws:
            reading.take(Kept(raw))
        quiet = 0 if raws or any((await reader.lag()).values()) else quiet + 1
    return reading.verdict("kafka", tails or {})
