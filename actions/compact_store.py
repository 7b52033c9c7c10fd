"""Forbidden: have a store rewrite its files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from actions.forbidden import Forbidden
from schemas.values import StoreId


class CompactStore(Forbidden):
    """Never done here: have one store rewrite its files, so that dead rows take no space and slow no scan.

    TiKV does this by itself all the time, a few files after the other. Asked for, it is one call for all of them, for
    the time after a big deletion when scans are slow over rows that nobody can see.

    What the call does (gRPC debugpb.Debug/Compact on the store's port 20160, not PD): the store reads and writes again
    every file of one column family, or of a range of keys, and answers when it is done: minutes to hours later. No row
    that anybody can see is changed, and doing it twice does no harm but the load.

    What clients notice: every request to this store is slower while it runs, at worst writes stall; afterwards its
    block cache is cold for all that was rewritten.

    Why no machine does it: it can be neither bounded, cancelled nor undone. Keys and threads can be given, but not how
    much is read and written, nor for how long. If it hurts, nothing stops it: ending tikv-ctl only ends the waiting,
    the store goes on. If the connection is lost, nothing tells this compaction from the store's own. So no abort
    condition, deadline, probe or undo would be true of it.

    What a person checks first:
    1. Does GC move (pd-ctl service-gc-safepoint)? What it has not given up yet, compaction keeps.
    2. Is the store behind with its own compaction (tikv_engine_pending_compaction_bytes), or do writes stall? Then
       this makes it worse: look at its disk and its write load.
    3. Is there free space? New files are complete before the old ones go: at worst as much again.
    4. Can the disk bear it? A quiet hour, one store at a time, nothing else going on in the cluster; its leaders can
       be moved off first (`steward actions show evict_store_leaders`).

    By hand, with one thread: tikv-ctl --host 10.0.4.12:20160 compact -d kv -c write -n 1
    For less at a time, a range: -f FROM -t TO. Watch tikv_engine_compaction_* and the store's latency.
    Not: tikv-ctl --pd PD compact-cluster. It does this to every store at once, and no replica is left that is quick.
    """

    name = "compact_store"
    because = "it can be neither bounded, cancelled nor undone, and loads the store's disk for minutes to hours"
    check_first = (
        "whether GC moves, whether writes stall already, and whether the disk has the room and the time to write again"
        " what it holds"
    )

    store_id: StoreId = Field(description="The store whose files are rewritten.")
    column_family: Literal["default", "lock", "write"] = Field(
        description="Where the rows are: `write` has the versions that deletions leave."
    )
    threads: int = Field(8, ge=1, le=64, description="How many of the store's threads work at it.")
