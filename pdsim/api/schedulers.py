"""/schedulers, /checker, /scheduler-config: who moves things by itself, and who may not for a while."""

from __future__ import annotations

from pdsim import go
from pdsim.api.route import Route
from pdsim.model import Cluster
from pdsim.schedulers import (
    BALANCE_LEADER,
    BATCH_MAX,
    CHECKERS,
    EVICT_LEADER,
    EVICT_SLOW,
    GRANT_LEADER,
    WITHOUT_ARGUMENTS,
)
from pdsim.wire import NOT_FOUND, Ask, Response, said, text, wrong_type

NO_SCHEDULER = "[PD:scheduler:ErrSchedulerNotFound]scheduler not found"
CREATED = "The scheduler is created."
APPLIED = "The scheduler has been applied to the store."


def get_schedulers(cluster: Cluster, ask: Ask) -> Response:
    """Names in random order; while PD warms up after a change of leader the list is empty."""
    if not cluster.schedulers_ready:
        return said(200, [])
    names = list(cluster.schedulers.names)
    status = ask.first("status")
    if status == "paused":
        paused = [name for name in names if cluster.schedulers.is_paused(name, cluster.now)]
        if "timestamp" in ask.query:
            return said(200, [_pause_view(cluster, name) for name in cluster.shuffled(paused)])
        return said(200, cluster.shuffled(paused))
    if status == "disabled":
        return said(200, [])
    return said(200, cluster.shuffled(names))


def _pause_view(cluster: Cluster, name: str) -> dict[str, object]:
    since, until = cluster.schedulers.paused[name]
    return {
        "name": name,
        "paused_at": go.rfc3339(since, fraction=False),
        "resume_at": go.rfc3339(until, fraction=False),
    }


def create(cluster: Cluster, ask: Ask) -> Response:
    body = ask.json_object()
    name = body.get("name")
    if not isinstance(name, str):
        return said(400, "missing scheduler name")
    if name in (EVICT_LEADER, GRANT_LEADER):
        return _create_for_store(cluster, name, body.get("store_id"))
    if name not in WITHOUT_ARGUMENTS:
        return said(400, "unknown scheduler")
    if name in cluster.schedulers.names:
        return said(500, "[PD:scheduler:ErrSchedulerExisted]scheduler existed")
    cluster.schedulers.names[name] = None
    cluster.wake()
    return said(200, CREATED)


def _create_for_store(cluster: Cluster, name: str, number: go.Json) -> Response:
    """Repeating is harmless, but a lifted bar stays lifted. With the scheduler there already, errors are JSON twice."""
    state = cluster.schedulers
    if isinstance(number, bool) or not isinstance(number, int | float):
        return said(400, "missing store id")
    store_id = go.uint64_of(float(number))
    exists = name in state.names
    if store_id not in cluster.stores:
        return _refused(f"[PD:core:ErrStoreNotFound]store {store_id} not found", exists=exists)
    other = state.granted if name == EVICT_LEADER else state.evicted
    if store_id in other:
        return _refused(
            f"[PD:core:ErrPauseLeaderTransfer]store {store_id} is paused for leader transfer", exists=exists
        )
    if name == EVICT_LEADER:
        state.evict(store_id)
    else:
        state.granted[store_id] = None
        state.names[name] = None
    cluster.wake()
    return said(200, APPLIED if exists else CREATED)


def _refused(message: str, *, exists: bool) -> Response:
    """The existing scheduler answers through its own handler, whose JSON is then put into JSON once more."""
    return said(500, go.dumps_indented(message).decode() if exists else message)


def delete(cluster: Cluster, ask: Ask) -> Response:
    """`evict-leader-scheduler-1` answers null, there or not; while PD warms up nothing is there (tikv/pd#4707)."""
    state, name = cluster.schedulers, ask.path["name"]
    for kind in (EVICT_LEADER, GRANT_LEADER):
        if name.startswith(f"{kind}-"):
            store = name.removeprefix(f"{kind}-")
            there = cluster.schedulers_ready and store.isdigit() and _take_off(cluster, kind, int(store))
            return said(200 if there else 404, None)
    if not cluster.schedulers_ready or name not in state.names:
        return said(404, NO_SCHEDULER)
    state.drop(name)
    cluster.wake()
    return said(200, "The scheduler is removed.")


def _take_off(cluster: Cluster, kind: str, store_id: int) -> bool:
    cluster.wake()
    if kind == EVICT_LEADER:
        return cluster.schedulers.forgive(store_id)
    if store_id not in cluster.schedulers.granted:
        return False
    del cluster.schedulers.granted[store_id]
    if not cluster.schedulers.granted:
        cluster.schedulers.drop(GRANT_LEADER)
    return True


def _delay(ask: Ask) -> int | Response:
    """Seconds, an integer; 0 and less resume."""
    body = ask.json_object()
    for value in body.values():
        if isinstance(value, bool) or not isinstance(value, int):
            return wrong_type(value, "int64")
    delay = body.get("delay")
    return delay if isinstance(delay, int) else said(400, "missing pause time")


def pause(cluster: Cluster, ask: Ask) -> Response:
    """Pause or resume one scheduler, or `all`. Kept in memory: a PD leader change resumes."""
    delay = _delay(ask)
    if isinstance(delay, Response):
        return delay
    name, state = ask.path["name"], cluster.schedulers
    if name != "all" and (name not in state.names or not cluster.schedulers_ready):
        return said(500, NO_SCHEDULER)
    for each in list(state.names) if name == "all" else [name]:
        if delay > 0:
            state.paused[each] = (cluster.now, cluster.now + delay)
        else:
            state.paused.pop(each, None)
    cluster.wake()
    return said(200, "Pause or resume the scheduler successfully.")


def pause_checker(cluster: Cluster, ask: Ask) -> Response:
    delay = _delay(ask)
    if isinstance(delay, Response):
        return delay
    name = ask.path["name"]
    if name not in CHECKERS:
        return said(500, "[PD:checker:ErrCheckerNotFound]checker not found")
    if delay > 0:
        cluster.schedulers.checkers_paused[name] = cluster.now + delay
        return said(200, "Pause the checker successfully.")
    cluster.schedulers.checkers_paused.pop(name, None)
    cluster.wake()
    return said(200, "Resume the checker successfully.")


def get_checker(cluster: Cluster, ask: Ask) -> Response:
    name = ask.path["name"]
    if name not in CHECKERS:
        return said(500, "[PD:checker:ErrCheckerNotFound]checker not found")
    return said(200, {"paused": cluster.schedulers.checker_is_paused(name, cluster.now)})


def evict_list(cluster: Cluster, _: Ask) -> Response:
    """404 means no evict-leader scheduler, or a PD that has not loaded it yet."""
    state = cluster.schedulers
    if not cluster.schedulers_ready or EVICT_LEADER not in state.names:
        return NOT_FOUND
    everything = [{"start-key": "", "end-key": ""}]
    ranges = {str(store): everything for store in sorted(state.evicted, key=str)}
    return said(200, {"store-id-ranges": ranges, "batch": state.batch})


def evict_config(cluster: Cluster, ask: Ask) -> Response:
    """Add a store or change the batch. DANGEROUS: a refused batch lifts the bar of that store as a leader target."""
    state = cluster.schedulers
    if not cluster.schedulers_ready or EVICT_LEADER not in state.names:
        return NOT_FOUND
    body = ask.json_object()
    number, batch = body.get("store_id"), body.get("batch")
    store_id = go.uint64_of(float(number)) if isinstance(number, int | float) and not isinstance(number, bool) else None
    if store_id is not None and store_id not in cluster.stores:
        return said(500, f"[PD:core:ErrStoreNotFound]store {store_id} not found")
    if batch is not None:
        valid = isinstance(batch, int | float) and not isinstance(batch, bool) and 1 <= batch <= BATCH_MAX
        if not valid:
            hurt = store_id is not None and store_id in state.evicted
            if store_id is not None and hurt:
                state.unbarred[store_id] = None
                cluster.wake()
            return said(400, "batch is invalid, it should be in [1, 10]", changed=hurt)
        state.batch = int(float(str(batch)))
    if store_id is not None:
        state.evict(store_id)
    cluster.wake()
    return said(200, "The scheduler has been applied to the store.")


def slow_list(cluster: Cluster, _: Ask) -> Response:
    """Stores taken in by evict-slow-store: in this list only, not in evict-leader's."""
    state = cluster.schedulers
    if not cluster.schedulers_ready or EVICT_SLOW not in state.names:
        return NOT_FOUND
    if not cluster.since(8, 1):
        return text(200, "not implements")
    return said(
        200,
        {
            "disabled": False,
            "recovery-duration": state.slow_recovery_s,
            "evict-stores": list(state.slow_evicted),
            "enable-network-slow-store": False,
            "paused-network-slow-stores": [],
            "evicted-network-slow-stores": [],
            "batch": state.slow_batch,
        },
    )


def diagnostic(cluster: Cluster, ask: Ask) -> Response:
    name, state = ask.path["name"], cluster.schedulers
    if name not in (BALANCE_LEADER, "balance-region-scheduler"):
        return said(500, f"[PD:diagnostic:ErrSchedulerUndiagnosable]{name} hasn't supported diagnostic")
    if name not in state.names:
        word = "disabled"
    elif state.is_paused(name, cluster.now):
        word = "paused"
    elif cluster.config.halt_scheduling:
        word = "halted"
    else:
        word = "scheduling" if any(op.desc == name for op in cluster.book.running.values()) else "normal"
    return said(200, {"name": name, "status": word, "summary": "", "timestamp": int(cluster.now)})


ROUTES = (
    Route("GET", "/schedulers", get_schedulers),
    Route("POST", "/schedulers", create),
    Route("GET", "/schedulers/diagnostic/{name}", diagnostic),
    Route("DELETE", "/schedulers/{name}", delete),
    Route("POST", "/schedulers/{name}", pause),
    Route("GET", f"/scheduler-config/{EVICT_LEADER}/list", evict_list),
    Route("POST", f"/scheduler-config/{EVICT_LEADER}/config", evict_config),
    Route("GET", f"/scheduler-config/{EVICT_SLOW}/list", slow_list),
    Route("GET", "/checker/{name}", get_checker),
    Route("POST", "/checker/{name}", pause_checker),
)
