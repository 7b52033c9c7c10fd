"""The fault kit: everything that befalls a caller of PD in the middle of a repair, by name, aimed at one call of his.

Each is named for what happens, and says which public issue or which behaviour of a real PD it stands for (pd-seen.md
is the record of a running PD 8.5.7). A fault of one answer is one of pdsim/faults.py; what befalls the cluster is done
to the model, at once or at the moment of the call.

    KIT["the PD leader dies"].strike(cluster, faults, aim)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TypeAlias

from pdsim import building
from pdsim import faults as f
from pdsim.config import SCHEDULE
from pdsim.faults import Faults
from pdsim.http import answer
from pdsim.model import Cluster
from pdsim.operators import Operator, Priority, Status, TransferLeader
from pdsim.stores import State, Store
from pdsim.wire import Request, Response

TROUBLE_S = 30.0  # for so long PD goes on as it does
NOTICED_S = 40.0  # by then PD calls a store that is silent Disconnected, and has heard of what the others report
NEVER = float("inf")
SEEN_GONE_S = 12.0
LONG_S = 1_800.0  # what PD gives the transfer of a peer of a large region, for 96 MiB it is 17 min (pd-seen.md 3)
GROUPS = (ANSWER, PD, OPERATOR, STORE, SOMEBODY, UNDO) = (
    "The answer to the call",
    "PD",
    "Operators",
    "Stores",
    "Somebody else",
    "The undo",
)
CASUAL = (("x-caller-id", "pd-ctl"),)


@dataclass(frozen=True)
class Aim:
    """The caller's plan, as far as a fault needs it. What a plan does not have is None."""

    do: Request  # its first call
    undo: Request | None  # and how that is taken back
    store_id: int | None  # the store that it is about
    other_id: int  # a store that it is not about
    region_id: int | None = None
    refusal: str = ""  # how PD refuses the first call before any effect


Strike: TypeAlias = Callable[[Cluster, Faults, Aim], bool]


@dataclass(frozen=True)
class Named:
    """One fault. `strike` is called once the plan is made, and before its first call; False: there is nothing here that
    it could befall. `notice_s`: for so long PD needs to notice it."""

    name: str
    group: str
    stands_for: str
    strike: Strike
    notice_s: float = 0.0


# the answer to the call


def _answered(fault: Callable[[Aim], f.Fault], times: int | None = 1) -> Strike:
    def strike(_: Cluster, faults: Faults, aim: Aim) -> bool:
        faults.add(fault(aim), method=aim.do.method, path=aim.do.path, times=times)
        return True

    return strike


def _undo_answered(fault: f.Fault) -> Strike:
    def strike(_: Cluster, faults: Faults, aim: Aim) -> bool:
        if aim.undo is None:
            return False
        faults.add(fault, method=aim.undo.method, path=aim.undo.path, skip=_earlier(aim))
        return True

    return strike


def _earlier(aim: Aim) -> int:
    """The do goes to the same place as its undo, and comes first."""
    assert aim.undo is not None
    return int(aim.do.method == aim.undo.method and aim.do.path.startswith(aim.undo.path))


def _refusal(aim: Aim) -> f.Fault:
    return f.Garbage(500, f'"{aim.refusal}"\n'.encode(), "application/json; charset=UTF-8")


# what befalls the cluster at the moment of the call, of the undo, or at once

Befall: TypeAlias = Callable[[Cluster, Faults, Aim], bool]


def _before(befall: Befall) -> Strike:
    """Just before PD reads the call: the caller has looked, and sends."""

    def strike(cluster: Cluster, faults: Faults, aim: Aim) -> bool:
        fault = f.Meanwhile(before=lambda: befall(cluster, faults, aim))
        faults.add(fault, method=aim.do.method, path=aim.do.path)
        return True

    return strike


def _after(befall: Befall) -> Strike:
    """As soon as PD has answered the call."""

    def strike(cluster: Cluster, faults: Faults, aim: Aim) -> bool:
        fault = f.Meanwhile(after=lambda: befall(cluster, faults, aim))
        faults.add(fault, method=aim.do.method, path=aim.do.path)
        return True

    return strike


def _reads(fault: f.Fault, path: str = "/pd/api/v1/") -> Befall:
    def befall(cluster: Cluster, faults: Faults, _: Aim) -> bool:
        faults.add(fault, method="GET", path=path, between=(cluster.now, cluster.now + TROUBLE_S), times=None)
        return True

    return befall


def _region_reads(cluster: Cluster, faults: Faults, aim: Aim) -> bool:
    if aim.region_id is None:
        return False
    return _reads(f.RegionAbsent(), f"/pd/api/v1/region/id/{aim.region_id}")(cluster, faults, aim)


def _another_cluster(cluster: Cluster, faults: Faults, _: Aim) -> bool:
    faults.add(f.WrongCluster(cluster.id + 1), method="GET", times=None)
    return True


def _leader_changes(cluster: Cluster, _: Faults, __: Aim) -> bool:
    cluster.change_pd_leader(cluster.now)
    return True


def _leader_dies(cluster: Cluster, _: Faults, __: Aim) -> bool:
    cluster.kill_pd_leader(cluster.now)
    return True


def _restarts(cluster: Cluster, _: Faults, __: Aim) -> bool:
    cluster.restart_pd(cluster.now)
    return True


# operators


def _of_the_call(cluster: Cluster, aim: Aim) -> list[Operator]:
    """Those that the call has just made."""
    made = cluster.book.running.values()
    return [o for o in made if "admin" in o.kinds and o.created_at == cluster.now and aim.region_id is not None]


def _operators(befall: Callable[[Cluster, Operator], None]) -> Befall:
    def each(cluster: Cluster, _: Faults, aim: Aim) -> bool:
        made = _of_the_call(cluster, aim)
        for operator in made:
            befall(cluster, operator)
        return bool(made)

    return each


def _replaced(cluster: Cluster, operator: Operator) -> None:
    cluster.book.end(operator, Status.REPLACE, cluster.now)


def _cancelled(cluster: Cluster, operator: Operator) -> None:
    cluster.cancel(operator)


def _times_out(_: Cluster, operator: Operator) -> None:
    operator.due = NEVER


def _stuck(_: Cluster, operator: Operator) -> None:
    operator.due, operator.timeout_s = NEVER, LONG_S


def _region_is_busy(cluster: Cluster, _: Faults, aim: Aim) -> bool:
    """evict-leader's operators are as urgent as an admin's: PD refuses the second."""
    region = cluster.cache.get(aim.region_id) if aim.region_id is not None else None
    if region is None or region.leader is None:
        return False
    heir = next(peer.store_id for peer in region.voters if peer.store_id != region.leader)
    maker = building.Maker("evict-leader", ("admin", "leader"), Priority.URGENT)
    step = TransferLeader(region.leader, heir)
    operator = maker.make(cluster, region, f"transfer leader: store {region.leader} to {heir}", [step])
    if not cluster.add_operator(operator):
        return False
    operator.due, operator.timeout_s = NEVER, TROUBLE_S  # its store does not obey
    return True


# stores


def _store(cluster: Cluster, store_id: int | None) -> Store | None:
    return None if store_id is None else cluster.stores.get(store_id)


def _dies(other: bool) -> Befall:
    def befall(cluster: Cluster, _: Faults, aim: Aim) -> bool:
        store = _store(cluster, aim.other_id if other else aim.store_id)
        if store is None or not store.alive:
            return False
        cluster.kill_store(store.id)
        return True

    return befall


def _slow(other: bool) -> Befall:
    def befall(cluster: Cluster, _: Faults, aim: Aim) -> bool:
        store = _store(cluster, aim.other_id if other else aim.store_id)
        if store is None or not store.alive:
            return False
        cluster.set_slow(store.id, 100)
        cluster.set_busy(store.id)
        return True

    return befall


def _full(other: bool) -> Befall:
    def befall(cluster: Cluster, _: Faults, aim: Aim) -> bool:
        store = _store(cluster, aim.other_id if other else aim.store_id)
        if store is None or not store.alive:
            return False
        cluster.set_low_space(store.id, 0.95)
        return True

    return befall


def _buried(cluster: Cluster, _: Faults, aim: Aim) -> bool:
    store = _store(cluster, aim.store_id)
    if store is None or store.state is State.Tombstone:
        return False
    cluster.make_tombstone(store.id)
    return True


# somebody else


def _sends(cluster: Cluster, request: Request | None) -> bool:
    """A person with pd-ctl, or tidb-operator. True: it changed something."""
    if request is None:
        return False
    was = _picture(cluster)
    given = answer(cluster, replace(request, headers=CASUAL), cluster.now)
    return isinstance(given, Response) and given.status < 300 and was != _picture(cluster)


def _picture(cluster: Cluster) -> tuple[object, ...]:
    """What a call of pd-ctl can change at once."""
    stores = [
        (s.id, s.state, s.leader_weight, s.region_weight, [limit.per_minute for limit in s.limits.values()])
        for s in cluster.stores.values()
    ]
    running = [(o.region_id, o.desc, o.created_at) for o in cluster.book.running.values()]
    schedulers, config = cluster.schedulers, cluster.config
    set_there = (dict(schedulers.names), dict(schedulers.evicted), dict(schedulers.paused), dict(config.ttl))
    return (stores, running, set_there, deepcopy(config.schedule), config.halt_scheduling, cluster.members.leader)


def _same(cluster: Cluster, _: Faults, aim: Aim) -> bool:
    return _sends(cluster, aim.do)


def _undoes(cluster: Cluster, _: Faults, aim: Aim) -> bool:
    cluster.advance(cluster.now + 1)  # what the call made is there by then
    return _sends(cluster, aim.undo)


def _does_it_again(cluster: Cluster, faults: Faults, aim: Aim) -> bool:
    """Once the caller has seen that it is gone, somebody does the same for reasons of his own."""
    if aim.undo is None:
        return False

    def later() -> bool:
        fault = f.Meanwhile(before=lambda: _sends(cluster, aim.do))
        faults.add(fault, method="GET", between=(cluster.now + SEEN_GONE_S, NEVER))
        return True

    faults.add(f.Meanwhile(after=later), method=aim.undo.method, path=aim.undo.path, skip=_earlier(aim))
    return True


def _comes_back(cluster: Cluster, faults: Faults, aim: Aim) -> bool:
    """The undo is answered well, and lost: PD's next leader loads the scheduler as it was before."""
    if aim.undo is None:
        return False
    was: list[object] = []

    def keep() -> bool:
        was.append(deepcopy(cluster.schedulers))
        return True

    def lost() -> bool:
        kept = was[0]
        assert isinstance(kept, type(cluster.schedulers))
        if (kept.names, kept.evicted) == (cluster.schedulers.names, cluster.schedulers.evicted):
            return False
        cluster.schedulers = kept
        cluster.change_pd_leader(cluster.now)
        return True

    fault = f.Meanwhile(before=keep, after=lost)
    faults.add(fault, method=aim.undo.method, path=aim.undo.path, skip=_earlier(aim))
    return True


def _evicts_another(cluster: Cluster, _: Faults, aim: Aim) -> bool:
    if aim.other_id in cluster.schedulers.evicted:
        return False
    cluster.schedulers.evict(aim.other_id)
    cluster.wake()
    return True


def _halts(cluster: Cluster, _: Faults, __: Aim) -> bool:
    cluster.config.halt_scheduling = True
    return True


def _limits_reset(cluster: Cluster, _: Faults, __: Aim) -> bool:
    """Whoever manages the cluster writes its own settings over all there is: tidb-operator, an Ansible run."""
    for name, value in SCHEDULE.items():
        if name.endswith("-limit"):
            cluster.config.schedule[name] = deepcopy(value)
    for store in cluster.stores.values():
        store.leader_weight = store.region_weight = 1.0
        for limit in store.limits.values():
            limit.per_minute = 15.0
    return True


_FAULTS = (
    Named(
        "connect refused",
        ANSWER,
        "nothing listens on PD's port",
        _answered(lambda _: f.ConnectionRefused()),
    ),
    Named(
        "connect time-out",
        ANSWER,
        "a firewall drops the first packet, or the host is gone",
        _answered(lambda _: f.ConnectTimedOut()),
    ),
    Named(
        "connect refused for good",
        ANSWER,
        "the same at every attempt, while reads are answered",
        _answered(lambda _: f.ConnectionRefused(), times=None),
    ),
    Named(
        "read time-out",
        ANSWER,
        "a PD leader stopped by SIGSTOP: followers hang until the caller gives up (pd-seen.md 6)",
        _answered(lambda _: f.NeverAnswers()),
    ),
    Named(
        "read time-out, applied",
        ANSWER,
        "PD carries out the call, and its answer comes after the caller has given up",
        _answered(lambda _: f.Slow(60.0)),
    ),
    Named(
        "dropped after send",
        ANSWER,
        "the connection breaks before PD has read the request",
        _answered(lambda _: f.DroppedBefore()),
    ),
    Named(
        "dropped after send, applied",
        ANSWER,
        "PD carries out the call, and dies or is cut off before it answers",
        _answered(lambda _: f.DroppedAfter()),
    ),
    Named(
        "5xx with a code",
        ANSWER,
        "500 ErrRedirectToNotLeader of a follower that has not passed it on (pd-seen.md 6)",
        _answered(lambda _: f.NotLeader()),
    ),
    Named(
        "5xx with a code, applied",
        ANSWER,
        "the same after the leader has carried it out: the code says nothing of the effect",
        _answered(lambda _: f.NotLeader(applied=True)),
    ),
    Named(
        "503 with a code",
        ANSWER,
        "ErrRedirectNoLeader of a PD that has lost its quorum (pd-seen.md 6)",
        _answered(lambda _: f.NoLeader()),
    ),
    Named(
        "5xx without a code",
        ANSWER,
        "a gateway's HTML page",
        _answered(lambda _: f.HtmlBody()),
    ),
    Named(
        "a panic",
        ANSWER,
        "500 text/plain `PANIC: ...` with a goroutine trace (pd-seen.md 0)",
        _answered(lambda _: f.Panic()),
    ),
    Named(
        "200 of a proxy",
        ANSWER,
        "a captive page says 200, and PD has never heard of the call",
        _answered(lambda _: f.HtmlBody(status=200)),
    ),
    Named(
        "429",
        ANSWER,
        "PD's own rate limit, without Retry-After (pd-seen.md 1)",
        _answered(lambda _: f.TooMany()),
    ),
    Named(
        "half an answer",
        ANSWER,
        "applied; the body is cut, and its Content-Length fits the half",
        _answered(lambda _: f.HalfBody()),
    ),
    Named(
        "refused",
        ANSWER,
        "PD's own refusal of this call, before any effect",
        lambda cluster, faults, aim: bool(aim.refusal) and _answered(_refusal)(cluster, faults, aim),
    ),
    Named(
        "leader change before the call",
        PD,
        "between look and call: for 0.1 s everything is redirected to nobody (pd-seen.md 6)",
        _before(_leader_changes),
    ),
    Named(
        "leader change mid-operation",
        PD,
        "a new leader has no operators, pauses or progress, and hides its schedulers at first (tikv/pd#4707)",
        _after(_leader_changes),
    ),
    Named(
        "leader killed mid-operation",
        PD,
        "kill -9: the others answer `redirect failed` for 12 s (pd-seen.md 6)",
        _after(_leader_dies),
    ),
    Named(
        "PD restarts mid-operation",
        PD,
        "zeros, no leaders, no schedulers until heartbeats come (pd-seen.md 2)",
        _after(_restarts),
    ),
    Named(
        "fresh leader",
        PD,
        "stale counts: it leads since a moment, and has not heard of every region (tikv/pd#3406)",
        _leader_changes,
        notice_s=5,
    ),
    Named(
        "PD restarted",
        PD,
        "stale counts: all of it is read from disk (tikv/pd#3406)",
        _restarts,
        notice_s=8,
    ),
    Named(
        "slow PD",
        PD,
        "for half a minute every read takes 3 s",
        _after(_reads(f.Slow(3.0))),
    ),
    Named(
        "half answers",
        PD,
        "for half a minute every answer is cut in the middle",
        _after(_reads(f.HalfBody())),
    ),
    Named(
        "200 for a missing region",
        PD,
        "PD has no 404 for a region: it answers one with id 0 (pd-seen.md 1)",
        _after(_region_reads),
    ),
    Named(
        "another cluster answers",
        PD,
        "an endpoint that leads to another cluster, as an address that was given away",
        _another_cluster,
    ),
    Named(
        "halted",
        PD,
        "halt-scheduling is set; it stops schedulers, and not an admin's operators (pd-seen.md 5)",
        _halts,
    ),
    Named(
        "operator refused",
        OPERATOR,
        "ErrAddOperator: evict-leader's operator on the region is as urgent (pd-seen.md 3)",
        _before(_region_is_busy),
    ),
    Named(
        "operator replaced",
        OPERATOR,
        "a more urgent one of PD's takes its place, and it ends REPLACE",
        _after(_operators(_replaced)),
    ),
    Named(
        "operator cancelled",
        OPERATOR,
        "somebody cancels it; its store may still do what it was told (pd-seen.md 3)",
        _after(_operators(_cancelled)),
    ),
    Named(
        "operator timed out",
        OPERATOR,
        "its store does not obey, and it ends TIMEOUT (pd-seen.md 3)",
        _after(_operators(_times_out)),
    ),
    Named(
        "operator stuck",
        OPERATOR,
        "its store does not obey, and PD gives it half an hour, as it does a large region's peer (pd-seen.md 3)",
        _after(_operators(_stuck)),
    ),
    Named(
        "the store down",
        STORE,
        "its process is dead since before: Disconnected after 20 s (pd-seen.md 2)",
        _dies(other=False),
        notice_s=NOTICED_S,
    ),
    Named(
        "another store down",
        STORE,
        "the same of a store that it is not about",
        _dies(other=True),
        notice_s=NOTICED_S,
    ),
    Named(
        "the store disconnected mid-operation",
        STORE,
        "it dies under the call",
        _after(_dies(other=False)),
    ),
    Named(
        "another disconnected mid-operation",
        STORE,
        "a store that it is not about dies under the call",
        _after(_dies(other=True)),
    ),
    Named(
        "the store slow",
        STORE,
        "slow_score 100, and busy",
        _slow(other=False),
        notice_s=NOTICED_S,
    ),
    Named(
        "another store slow",
        STORE,
        "the same of a store that it is not about",
        _slow(other=True),
        notice_s=NOTICED_S,
    ),
    Named(
        "the store low on space",
        STORE,
        "its disk is 95 % full",
        _full(other=False),
        notice_s=NOTICED_S,
    ),
    Named(
        "another low on space mid-operation",
        STORE,
        "the disk of a store that it is not about fills up under the call",
        _after(_full(other=True)),
    ),
    Named(
        "the store tombstoned before",
        STORE,
        "tidb-operator has scaled it in since the plan was made (pingcap/tidb-operator#720)",
        _buried,
        notice_s=5,
    ),
    Named(
        "the store tombstoned under us",
        STORE,
        "the same in the middle of it",
        _after(_buried),
    ),
    Named(
        "somebody does the same before our look",
        SOMEBODY,
        "a person with pd-ctl who reads the same alert",
        _same,
        notice_s=5,
    ),
    Named(
        "somebody does the same under our call",
        SOMEBODY,
        "the same between look and call: PD says that it was applied, as it does to the first (pd-seen.md 4)",
        _before(_same),
    ),
    Named(
        "somebody takes it back",
        SOMEBODY,
        "a person with pd-ctl undoes what was just done",
        _after(_undoes),
    ),
    Named(
        "another store's leaders evicted",
        SOMEBODY,
        "tidb-operator upgrades another store, or has left its eviction behind (pingcap/tidb-operator#4483)",
        _evicts_another,
        notice_s=5,
    ),
    Named(
        "limits reset",
        SOMEBODY,
        "whoever manages the cluster writes limits and weights as they were installed",
        _after(_limits_reset),
    ),
    Named(
        "undo: connect refused",
        UNDO,
        "nothing listens as it is taken back",
        _undo_answered(f.ConnectionRefused()),
    ),
    Named(
        "undo: dropped after send",
        UNDO,
        "the connection breaks before PD has read the undo",
        _undo_answered(f.DroppedBefore()),
    ),
    Named(
        "undo: dropped after send, applied",
        UNDO,
        "PD has carried out the undo, and nobody hears of it",
        _undo_answered(f.DroppedAfter()),
    ),
    Named(
        "undo: 5xx with a code",
        UNDO,
        "500 ErrRedirectToNotLeader in the moment of a leader change",
        _undo_answered(f.NotLeader()),
    ),
    Named(
        "undo: scheduler comes back",
        UNDO,
        "gone, and there again under the next PD leader (tikv/pd#4707, a raced deletion: tikv/pd#9185)",
        _comes_back,
    ),
    Named(
        "undo: somebody does it again",
        UNDO,
        "gone, and put there again by somebody under the same PD leader: not ours to undo",
        _does_it_again,
    ),
)
KIT: Mapping[str, Named] = {fault.name: fault for fault in _FAULTS}
