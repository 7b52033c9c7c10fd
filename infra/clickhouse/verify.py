"""Is the record what was written? Recomputes every chain and every cited input from the bytes alone.

A chain is one cluster on one owned topic (each topic of a decides or works line). The first break of each chain is
named; what follows a break can't be trusted either, and is not judged further. What somebody else has written on a
topic is counted and listed apart, and breaks nothing; a link that was replaced by such a record is missing from its
chain all the same. Checkpoints, where there are any, say how far each chain has been and with which hash; closed books
are held against the fold of their ledger. Pure, but for the readers at the end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from infra.clickhouse.checkpoints import Known, Mark
from infra.clickhouse.closings import Fold, Ledger, Wrong
from infra.clickhouse.held import Citation, Citations, Held, Partition
from infra.clickhouse.rows import (
    AT,
    COLUMNS,
    FOREIGN,
    ROW_VERSION,
    UNREADABLE,
    Row,
    row_of,
    row_of_event,
    row_of_unreadable,
)
from infra.clickhouse.sink import Positions, RecordsLost, TopicReader
from infra.clickhouse.store import Store
from infra.publisher import Unreachable
from infra.runners.books import Raw
from schemas.chain import Link
from schemas.events import DeadLetter, Event, InputIgnored, Unreadable
from schemas.text import clean
from schemas.values import Cause, Head, sha256
from schemas.wire import Decoded, decode, unframed
from streams.pipeline import BY_NAME, OWNED, OWNER, TOPICS, may_stand_on

Kind = Literal["edited", "missing", "repeated", "out_of_order", "cut", "cause", "twofold", "rewritten", "book"]
Source = Literal["clickhouse", "kafka", "both"]
Chain = tuple[str, str]  # cluster, topic

PUBLIC = frozenset(t.name for t in TOPICS if not t.keeps_all)  # anybody writes there
FOREIGN_LISTED_MAX = 100
CHECKPOINTS = "checkpoints"  # named like a topic where the break is in them
AHEAD_MS_MAX = 3_600_000  # by then the sink has read every partition up to where it has read one
POLL_S = 0.25
STALLED_S = 60.0


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
    """`links`: how each chain ends. `held`: hashes by place, to compare with another source. `foreign`: the first
    ones; all are counted. `notes`: what was not judged."""

    source: str
    breaks: tuple[Break, ...]
    counts: Mapping[str, int]
    links: Mapping[Chain, Link] = field(default_factory=dict)
    held: Mapping[Partition, Held] = field(default_factory=dict)
    foreign: tuple[Foreign, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.breaks

    @property
    def headline(self) -> str:
        c = self.counts
        if self.breaks:
            return f"BROKEN ({self.source}): {len(self.breaks)} of {c['chains']} chains; first {self.breaks[0]}"
        more = f", {c['checkpoints']} checkpoints" if c.get("checkpoints") else ""
        more += f"; {c['foreign']} foreign records, of no chain" if c.get("foreign") else ""
        more += f"; {c['lag']} records not yet in the table" if c.get("lag") else ""
        return f"whole ({self.source}): {c['records']} records, {c['chains']} chains, {c['causes']} causes agree{more}"

    def to_text(self) -> str:
        counts = ", ".join(f"{name} {value}" for name, value in self.counts.items() if value)
        below = [*map(str, (*self.breaks, *self.foreign, *self.notes)), counts or "nothing on record"]
        # Keys and names may be anybody's.
        return "\n".join([clean(self.headline), *(f"  {clean(line)}" for line in below)])

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "text": self.headline,
            "source": self.source,
            "breaks": [b.to_dict() for b in self.breaks],
            "foreign": [f.to_dict() for f in self.foreign],
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "tails": [
                {"cluster_id": cluster, "topic": topic, "seq": link.seq, "hash": link.hash.hex()}
                for (cluster, topic), link in sorted(self.links.items())
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def verify(
    rows: Iterable[Kept],
    *,
    source: str = "rows",
    tails: Mapping[Chain, Link] | None = None,
    cluster: str | None = None,
    known: Known | None = None,
    folds: Mapping[str, Fold] | None = None,
) -> Verdict:
    """Judge records that come, partition by partition, in offset order. `tails`: ends of chains as another source has
    them: a chain that ends before is cut. `known`: checkpoints. `folds`: by topic, what its closed books are held
    against. `cluster`: judge its chains alone; other records only serve as inputs that it cites."""
    reading = _Reading(cluster, known or Known(), folds or {})
    for kept in rows:
        reading.take(kept)
    return reading.verdict(source, tails or {})


@dataclass
class _Chain:
    link: Link = field(default_factory=Link)
    at: tuple[int, int] = (0, -1)  # place of the last link
    gap: tuple[int, int] = (0, -1)  # seqs that were missing at its first break
    agreed: int = 0  # the last seq at which a checkpoint has the same hash


@dataclass
class _Reading:
    cluster: str | None
    known: Known = field(default_factory=Known)
    folds: Mapping[str, Fold] = field(default_factory=dict)
    chains: dict[Chain, _Chain] = field(default_factory=dict)
    ledgers: dict[Partition, Ledger] = field(default_factory=dict)
    breaks: dict[Chain, Break] = field(default_factory=dict)
    held: dict[Partition, Held] = field(default_factory=dict)
    cited: Citations = field(default_factory=Citations)
    records: int = 0
    repeated_rows: int = 0
    unreadable: int = 0
    kept_as_unreadable: int = 0  # rows of an older build
    foreign: int = 0
    foreigners: list[Foreign] = field(default_factory=list)
    strays: dict[Chain, list[Link]] = field(default_factory=dict)  # as an owner that starts anew counts foreign records
    other_versions: int = 0
    causes: int = 0
    inputs_ahead: int = 0
    inputs_expired: int = 0
    recorded_ms: int = 0  # the latest row

    def __post_init__(self) -> None:
        self.marks: dict[Chain, dict[int, Mark]] = {}
        self.ends: dict[Partition, dict[int, Mark]] = {}  # of topics without chains
        for mark in self.known.lines:
            if mark.cluster:
                self.marks.setdefault((mark.cluster, mark.topic), {})[mark.seq] = mark
            else:
                self.ends.setdefault((mark.topic, mark.partition), {})[mark.offset] = mark

    def take(self, kept: Kept) -> None:
        raw, place = kept.raw, (kept.raw.topic, kept.raw.partition)
        held = self.held.setdefault(place, Held())
        digest = sha256(raw.value or b"")
        again = held.get(raw.offset)
        if again is None:
            held.add(raw.offset, digest)
        if kept.stored is not None:
            self.recorded_ms = max(self.recorded_ms, kept.stored[AT["recorded_at"]])
        try:
            decoded = decode(raw.value)
        except Unreadable as error:
            self._compare_end(place, raw, digest)
            self._unreadable(kept, error, again, digest)
            return
        if again is None and isinstance(decoded.event, OWNER):
            held.is_housekeeping(raw.offset)
        if place in self.ends:
            self._compare_end(place, raw, sha256(decoded.body))
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
        causes = causes_of(decoded.event, decoded.head)
        if raw.topic in OWNED:
            self._follow(raw, decoded)
            self._fold(raw, decoded, causes)
        recorded_ms = kept.stored[AT["recorded_at"]] if kept.stored is not None else 0
        for cause in causes:
            self._cite(cluster_id, raw, decoded.head.seq, cause, recorded_ms)

    def _is_other(self, cluster_id: str) -> bool:
        return self.cluster is not None and cluster_id != self.cluster

    def _compare_end(self, place: Partition, raw: Raw, digest: bytes) -> None:
        """Of a topic without chains: is the record what it was when a checkpoint was written?"""
        mark = self.ends.get(place, {}).get(raw.offset)
        if mark is not None and mark.hash != digest:
            self._break("rewritten", "", raw, 0, f"it is another record than checkpoint n {mark.n} of {mark.when} has")

    def _fold(self, raw: Raw, decoded: Decoded, causes: list[Cause]) -> None:
        place = (raw.topic, raw.partition)
        ledger = self.ledgers.get(place)
        if ledger is None:
            fold = self.folds.get(raw.topic)
            ledger = self.ledgers[place] = Ledger(*place, fold, whole=self.cluster is None)
        broken = (decoded.event.cluster_id, raw.topic) in self.breaks
        self._wrong_books(place, ledger.take(raw, decoded, causes, broken=broken))

    def _wrong_books(self, place: Partition, found: Iterable[Wrong]) -> None:
        for wrong in found:
            at = Raw(*place, wrong.offset, 0, None, None)
            self._break("book", wrong.cluster_id, at, wrong.seq, wrong.text)

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
        if decoded and stored[AT["kind"]] == UNREADABLE:
            self.kept_as_unreadable += 1
            expected, decoded = _as_unreadable(stored, raw, decoded), None
        else:
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
            self._link(chain, raw, decoded)
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
        self._link(chain, raw, decoded)

    def _link(self, chain: _Chain, raw: Raw, decoded: Decoded) -> None:
        head, cluster_id = decoded.head, decoded.event.cluster_id
        chain.link, chain.at = Link(head.seq, sha256(decoded.body)), (raw.partition, raw.offset)
        mark = self.marks.get((cluster_id, raw.topic), {}).get(head.seq)
        if mark is None:
            return
        if mark.hash == chain.link.hash:
            chain.agreed = head.seq
            return
        text = f"it is another event than checkpoint n {mark.n} of {mark.when} has"
        self._break("rewritten", cluster_id, raw, head.seq, f"{text}; they agreed up to seq {chain.agreed}")

    def _cite(self, cluster_id: str, raw: Raw, seq: int, cause: Cause, recorded_ms: int) -> None:
        if cause.topic == "tick" or cause.offset < 0:
            return
        cited = (cause.topic, cause.partition)
        held = self.held.get(cited)
        if held is not None and held.get(cause.offset) == cause.sha256:
            self.causes += 1
            return
        by = (raw.topic, raw.partition)
        self.cited.add(Citation(cluster_id, by, raw.offset, seq, cited, cause.offset, cause.sha256, recorded_ms))

    def _settle(self, c: Citation) -> None:
        """An input that was not there, or not the same, when it was cited: the source may have had it later."""
        place = f"{c.cited[0]}/{c.cited[1]}@{c.cited_offset}"
        held = self.held.get(c.cited, Held())
        by = Raw(*c.by, c.offset, 0, None, None)
        found = held.get(c.cited_offset)
        if found == c.sha256:
            self.causes += 1
        elif found is not None:
            self._break("cause", c.cluster_id, by, c.seq, f"its input {place} is not what it was when it was answered")
        elif _forgets(c.cited[0]) and not held and not c.recorded_ms:
            self.inputs_expired += 1  # the log has let all of them go; the table lets none go
        elif c.cited_offset > held.last:
            if c.recorded_ms and self.recorded_ms - c.recorded_ms <= AHEAD_MS_MAX:
                self.inputs_ahead += 1  # the sink reads topics side by side
            else:
                text = f"its input {place} is not on record, where that topic ends at offset {held.last}"
                self._break("cut", c.cluster_id, by, c.seq, text)
        elif _forgets(c.cited[0]) and c.cited_offset < held.first:
            self.inputs_expired += 1
        else:
            self._break("missing", c.cluster_id, by, c.seq, f"its input {place} is not on record")

    def cites_what_is_ahead(self) -> bool:
        return any(offset > self.held.get(place, Held()).last for place, offset in self.cited.waiting_for().items())

    def _break(self, kind: Kind, cluster_id: str, raw: Raw, seq: int, text: str) -> None:
        self.breaks.setdefault((cluster_id, raw.topic), _broken(kind, cluster_id, raw, seq, text))

    def verdict(self, source: str, tails: Mapping[Chain, Link]) -> Verdict:
        for citation in self.cited:
            self._settle(citation)
        for (topic, partition), ledger in sorted(self.ledgers.items()):
            self._wrong_books((topic, partition), ledger.settle())
            for wrong, input_, since, upto in ledger.skips:
                held = self.held.get((input_, partition), Held())
                if (skipped := held.to_answer(since, upto)) is not None:
                    text = f"{wrong.text}, and {input_}/{partition}@{skipped} was not"
                    self._wrong_books((topic, partition), [wrong._replace(text=text)])
        for (cluster_id, topic), known in sorted(tails.items()):
            self._reaches(cluster_id, topic, known, "it is known to have reached")
        for (cluster_id, topic), marks in sorted(self.marks.items()):
            last = marks[max(marks)]
            said = f"by checkpoint n {last.n} of {last.when} it had reached"
            self._reaches(cluster_id, topic, Link(last.seq, last.hash), said, last.partition)
        for (topic, partition), ends in sorted(self.ends.items()):
            self._ends_well(topic, partition, ends)
        self._judge_checkpoints(source)
        counts = {
            "records": self.records,
            "chains": len(self.chains),
            "causes": self.causes,
            "unreadable": self.unreadable,
            "kept_as_unreadable": self.kept_as_unreadable,
            "foreign": self.foreign,
            "repeated_rows": self.repeated_rows,
            "inputs_ahead": self.inputs_ahead,
            "inputs_expired": self.inputs_expired,
            "checkpoints": len(self.known.lines),
            "books": sum(ledger.checked for ledger in self.ledgers.values()),
            "books_not_judged": sum(ledger.unchecked for ledger in self.ledgers.values()),
            "rows_of_other_versions": self.other_versions,
        }
        breaks = tuple(sorted(self.breaks.values(), key=lambda b: (b.topic, b.partition, b.offset, b.cluster_id)))
        links = {key: chain.link for key, chain in self.chains.items()}
        notes = tuple(self._not_judged(bool(tails)))
        return Verdict(source, breaks, counts, links, self.held, tuple(self.foreigners), notes)

    def _not_judged(self, tails_known: bool) -> Iterator[str]:
        if self.cluster is not None:
            yield "not judged: what is said of a whole partition; it takes every cluster"
        if self.kept_as_unreadable:
            yield (
                f"kept as unreadable by an older build: {self.kept_as_unreadable} rows; their bytes are judged, their "
                "columns say nothing, and questions don't find them"
            )
        if not (self.known.where or tails_known):
            yield "not judged: whether tails were cut off; there are no checkpoints"

    def _reaches(self, cluster_id: str, topic: str, known: Link, said: str, partition: int = 0) -> None:
        if self._is_other(cluster_id):
            return
        chain = self.chains.get((cluster_id, topic), _Chain(at=(partition, -1)))
        end = Raw(topic, *chain.at, 0, None, None)
        if chain.link.seq < known.seq:
            text = f"the chain ends at seq {chain.link.seq}; {said} seq {known.seq}"
            self._break("cut", cluster_id, end, chain.link.seq, text)
        elif chain.link.seq == known.seq and chain.link.hash != known.hash:
            self._break("edited", cluster_id, end, known.seq, "the chain ends in another event than is known")

    def _ends_well(self, topic: str, partition: int, ends: Mapping[int, Mark]) -> None:
        """A partition without chains, against where checkpoints say that it had been."""
        held = self.held.get((topic, partition), Held())
        for offset, mark in sorted(ends.items()):
            said = f"checkpoint n {mark.n} of {mark.when} has offset {offset}"
            forgets = _forgets(topic)
            if offset > held.last:
                end = Raw(topic, partition, held.last, 0, None, None)
                if not (forgets and not held):  # its owner may have let all of it go
                    self._break("cut", "", end, 0, f"it ends at offset {held.last}; {said}")
            elif held.get(offset) is None and not (forgets and offset < held.first):
                self._break("missing", "", Raw(topic, partition, offset, 0, None, None), 0, f"not on record; {said}")

    def _judge_checkpoints(self, source: str) -> None:
        """Are they themselves whole, and as recent as the record is?"""
        known = self.known
        if not known.where:
            return
        at = Raw(CHECKPOINTS, 0, known.fault.line if known.fault else 0, 0, None, None)
        if known.fault is not None:
            self._break(known.fault.kind, "", at, 0, f"{known.where}: {known.fault.text}")
        elif not known.lines:
            if self.records:
                self._break("cut", "", at, 0, f"{known.where}: no checkpoint is there")
        elif known.every_ms and source == "clickhouse":
            last = known.lines[-1]
            if self.recorded_ms - last.at_ms > 2 * known.every_ms + AHEAD_MS_MAX:
                text = f"{known.where}: they end with n {last.n} of {last.when}, and the table was written to later"
                self._break("cut", "", at, 0, text)


def _broken(kind: Kind, cluster_id: str, raw: Raw, seq: int, text: str) -> Break:
    return Break(kind, cluster_id, raw.topic, raw.partition, raw.offset, seq, text)


def _as_unreadable(stored: Row, raw: Raw, decoded: Decoded) -> Row:
    """The row that an older audit made of an event that it could not read yet. Why not is its word alone."""
    key = decoded.event.cluster_id.encode() if raw.topic in OWNED else raw.key
    said = Unreadable(stored[AT["reason_code"]], stored[AT["text"]])
    return row_of_unreadable(Raw(raw.topic, raw.partition, raw.offset, raw.at_ms, key, raw.value), said, 0)


def _forgets(topic: str) -> bool:
    return topic in BY_NAME and not BY_NAME[topic].keeps_all


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

    `live`: the log goes on, and `a` was read after `b`: what it has beyond the end of `b` is no difference, and is
    counted as `lag`."""
    breaks, lag = [], 0
    for topic, partition in sorted({*a.held, *b.held}):
        found, beyond = _difference(a, b, topic, partition, live)
        lag += beyond
        if found:
            breaks.append(found)
    counts = {
        **{name: min(a.counts[name], b.counts[name]) for name in ("records", "causes")},
        "chains": len({*a.links, *b.links}),
        "partitions": len({*a.held, *b.held}),
        "lag": lag,
        **{name: max(a.counts.get(name, 0), b.counts.get(name, 0)) for name in ("foreign", "checkpoints", "books")},
    }
    own = dict.fromkeys((*a.breaks, *b.breaks))  # what both have is said once
    notes = tuple(dict.fromkeys((*a.notes, *b.notes)))
    foreign = a.foreign or b.foreign
    return Verdict(f"{a.source} and {b.source}", (*breaks, *own), counts, a.links, a.held, foreign, notes)


def _difference(a: Verdict, b: Verdict, topic: str, partition: int, live: bool) -> tuple[Break | None, int]:
    """The first one, and how many records `a` has beyond the end of `b`."""
    left, right = a.held.get((topic, partition), Held()), b.held.get((topic, partition), Held())
    if _forgets(topic) and live and not left:
        return None, 0  # the log has let all of them go
    begin = max(left.first, right.first, 0) if _forgets(topic) and left and right else 0
    beyond = left.after(right.last) if live else 0
    found = left.differs(right, begin, right.last if live else max(left.last, right.last))
    if found is None:
        return None, beyond
    offset, one, two = found

    def at(kind: Kind, text: str) -> tuple[Break, int]:
        return Break(kind, "", topic, partition, offset, 0, text), beyond

    if one is not None and two is not None:
        return at("edited", f"{a.source} and {b.source} hold different bytes")
    lacks, has, other = (a.source, b.source, left) if one is None else (b.source, a.source, right)
    if offset > other.last:
        return at("cut", f"{lacks} ends before it; {has} has it")
    return at("missing", f"{lacks} does not have it; {has} does")


# -- sources --------------------------------------------------------------------------------------------------------


def verify_store(
    store: Store,
    cluster: str | None = None,
    tails: Mapping[Chain, Link] | None = None,
    known: Known | None = None,
    folds: Mapping[str, Fold] | None = None,
) -> Verdict:
    """From ClickHouse alone. Blocks."""
    return verify(kept_in(store), source="clickhouse", tails=tails, cluster=cluster, known=known, folds=folds)


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


class WholeReader(TopicReader, Protocol):
    """Reads topics from where they begin to where they end."""

    async def ends(self) -> Positions:
        """Where each partition ends now, transactions that are open left out. Raises Unreachable."""
        ...

    async def reached(self, ends: Positions) -> bool: ...

    async def close(self) -> None: ...


async def verify_topics(
    reader: WholeReader,
    cluster: str | None = None,
    tails: Mapping[Chain, Link] | None = None,
    known: Known | None = None,
    folds: Mapping[str, Fold] | None = None,
) -> Verdict:
    """From Kafka alone: everything that is there when it is begun, and what comes while it is read. Raises Unreachable
    where the broker doesn't answer, or falls silent."""
    reading = _Reading(cluster, known or Known(), folds or {})
    await reader.seek({})
    await _read(reader, reading, await reader.ends())
    if reading.cites_what_is_ahead():  # a partition that was read earlier has gone on: the inputs have come since
        await _read(reader, reading, await reader.ends())
    return reading.verdict("kafka", tails or {})


async def _read(reader: WholeReader, reading: _Reading, ends: Positions) -> None:
    async for raws in up_to(reader, ends):
        for raw in raws:
            reading.take(Kept(raw))


async def up_to(reader: WholeReader, ends: Positions) -> AsyncIterator[Sequence[Raw]]:
    """What stands before these ends, and what comes with it. Raises Unreachable where the broker falls silent."""
    progress_s = time.monotonic()
    while not await reader.reached(ends):
        try:
            raws = await reader.poll(5000, POLL_S)
        except RecordsLost as error:
            raise Unreachable(f"a topic can't be read to its end: {error}") from error
        if raws:
            yield raws
            progress_s = time.monotonic()
        elif time.monotonic() - progress_s > STALLED_S:
            raise Unreachable(f"Kafka gives nothing more for {STALLED_S:.0f} s, and the topics don't end here")


# -- asked for ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examination:
    """One verification, wherever it runs: in the console's process, or in an auditor's own."""

    source: Source = "clickhouse"
    cluster: str | None = None
    known: Known = field(default_factory=Known)
    folds: Mapping[str, Fold] = field(default_factory=dict)

    async def of(self, store: Store | None, topics: Callable[[], WholeReader]) -> Verdict:
        """`store` is not asked of who reads Kafka alone. Raises AuditRefused, AuditUnreachable or Unreachable."""
        if self.source == "kafka":
            return await self._of_topics(topics)
        assert store is not None
        table = await asyncio.to_thread(verify_store, store, self.cluster, None, self.known, self.folds)
        if self.source == "clickhouse":
            return table
        return compare(await self._of_topics(topics), table, live=True)

    async def _of_topics(self, topics: Callable[[], WholeReader]) -> Verdict:
        reader = topics()
        try:
            return await verify_topics(reader, self.cluster, None, self.known, self.folds)
        finally:
            await reader.close()

    def knows_nobody(self, verdict: Verdict) -> bool:
        """Is the cluster that was named on record with nothing at all?"""
        return self.cluster is not None and not verdict.counts["records"]
