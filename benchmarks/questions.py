"""What each named question costs as the audit grows: time and what is read, at two sizes, one ten times the other."""

from __future__ import annotations

import tempfile
from statistics import median

from benchmarks.audit import Audits, Spent, asked_of
from benchmarks.rows import Broker, Row, Say, Size
from infra.clickhouse.questions import questions

LINEAR = 10.0
MB = 1e6


def run_questions(broker: Broker, size: Size, say: Say) -> list[Row]:
    """A row a question: seconds at the small size, seconds at the large one, which has ten times the rows.

    A hundred million rows are not measured: what the note says of them lies on a straight line through both sizes."""
    few, times = size.of(1_000_000, 4_000), size.of(5, 1)
    with tempfile.TemporaryDirectory(prefix="steward-bench-questions-") as path:
        audits = Audits(path)
        stories = audits.make("few", few)
        say(f"  {stories:,} incidents, about {few:,} rows")
        many = audits.make("many", 10 * few)
        say(f"  {many:,} incidents, about {10 * few:,} rows")
        rows = []
        for name, sql, params in asked_of(audits, stories // 2):
            wrong = name if questions()[name].must_be_empty else ""
            one, ten = (middle([audits.ask(db, sql, params) for _ in range(times)]) for db in ("few", "many"))
            assert not (wrong and ten.found), f"{wrong} found {ten.found} rows in a sound record: what is made is not"
            say(f"  {name}: {one.s:.3f} s, {ten.s:.3f} s; rows read {one.rows:,}, {ten.rows:,}")
            rows.append(
                Row(
                    f"question {name}",
                    f"asked where {many:,} incidents are on record; in place of the raw client: where {stories:,} are",
                    "s",
                    one.s,
                    ten.s,
                    LINEAR,
                    "lower",
                    note=f"rows read: {ten.rows:,} for {one.rows:,}; MB: {ten.bytes / MB:,.1f} for"
                    f" {one.bytes / MB:,.1f}, and {at_hundred(one, ten):,.0f} of 100 times as many, by a line",
                )
            )
        audits.close()
    return rows


def middle(found: list[Spent]) -> Spent:
    return Spent(median(f.s for f in found), found[0].rows, found[0].bytes, found[0].found)


def at_hundred(one: Spent, ten: Spent) -> float:
    """MB read at a hundred times the rows of `one`, if it goes on as from one to ten."""
    return (ten.bytes + max(0, ten.bytes - one.bytes) * 10) / MB
