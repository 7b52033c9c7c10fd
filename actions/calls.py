"""Every call that Steward may ever make to a cluster, as a typed value; and what each answer to it means.

Nothing else can be rendered: what is not in CALLS can't be said. Deliberately absent, because PD harms itself
(pd-seen.md): `/regions/store/{id}?type=...` (an unknown type freezes the PD leader for good) and
`/scheduler-config/evict-leader-scheduler/config` (its refusal lifts the leader bar of the store). So no path here has
a query (nor is `ttlSecond` ever said: docs/adr), and arguments are whole positive numbers: PD cuts 1.5 to 1 and
wraps -1 to 18446744073709551615. Only where a row says so is one a weight: a plain decimal above 0 and below 100, for 0
is an eviction by another name; or a scheduler that may be paused, by name; or a key of PD's configuration that may be
set; or a count, which may be 0. Each value has one spelling: it goes into the digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, get_args

from actions.schedule_keys import ScheduleKey
from schemas.events import Answer
from schemas.values import Call, canonical_json

PREFIX = "/pd/api/v1"
SAID_MAX = 300  # characters of a reply that are repeated to people
_CODE = re.compile(r"\[(PD:[a-z_]+:Err[A-Za-z]+)\]")


class BadCall(Exception):
    """A call that is not in the table, or whose arguments are not what the table says. Nothing may be sent."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, without the endpoint it goes to."""

    method: str
    path: str
    body: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}{' ' + self.body if self.body else ''}"


Value = int | float | str


@dataclass(frozen=True)
class Spelling:
    """What an argument may be: its one spelling, in words for the refusal too."""

    pattern: re.Pattern[str]
    value: Callable[[str], Value]
    below: float  # where it is a number
    words: str
    above: float = 0

    def read(self, text: str) -> Value | None:
        """The value that is meant; None: not so spelled."""
        if not self.pattern.fullmatch(text):
            return None
        value = self.value(text)
        return value if isinstance(value, str) or self.above < value < self.below else None


# Those that balance, and no others: what drains a slow or a leaving store is not to be held.
PAUSABLE = ("balance-leader-scheduler", "balance-region-scheduler", "balance-hot-region-scheduler")
WHOLE = Spelling(re.compile(r"[1-9][0-9]{0,18}"), int, 2**63, "a whole positive number below 2^63")
WEIGHT = Spelling(
    re.compile(r"(?:0|[1-9][0-9]?)(?:\.[0-9]?[1-9])?"),
    lambda text: float(text) if "." in text else int(text),
    100,
    "a plain decimal above 0 and below 100, with at most 2 places and no needless 0",
)
SCHEDULER = Spelling(re.compile("|".join(PAUSABLE)), str, 0, f"one of {', '.join(PAUSABLE)}")
KEY = Spelling(
    re.compile("|".join(get_args(ScheduleKey))), str, 0, "a key of PD's schedule configuration that may be set"
)
COUNT = Spelling(re.compile(r"0|[1-9][0-9]{0,9}"), int, 2**31, "a whole number of 0 or more, below 2^31", above=-1)


@dataclass(frozen=True)
class Kind:
    """One row: how a call is sent, and which answers say what. An answer that no field foresees may have run.

    `accepted`, `already`: (status, what is said). `refused`: PD error codes, or patterns of texts that have no code;
    only answers that PD gives before it changes anything, so that refused means without effect.

    An argument that neither path nor body names is not sent: it is what a probe tells by. `volatile`: what it changes
    is kept in the memory of the PD leader alone, so a new one has forgotten it, and never brings it back.
    """

    method: str
    path: str  # template over the arguments
    args: tuple[str, ...]  # WHOLE, but for those in `spelled`
    by_hand: str  # as a person types it, template over the arguments
    accepted: tuple[tuple[int, str], ...]
    body: Callable[[Mapping[str, Value]], object] | None = None
    already: tuple[tuple[int, str], ...] = ()
    refused_codes: tuple[str, ...] = ()
    refused_texts: tuple[str, ...] = ()  # regular expressions over the whole text
    spelled: Mapping[str, Spelling] = field(default_factory=dict)
    volatile: bool = False


_PAUSED = ((200, "Pause or resume the scheduler successfully."),)
CALLS: Mapping[str, Kind] = {
    "add_evict_leader": Kind(
        method="POST",
        path=f"{PREFIX}/schedulers",
        args=("store_id",),
        body=lambda args: {"name": "evict-leader-scheduler", "store_id": args["store_id"]},
        by_hand="pd-ctl scheduler add evict-leader-scheduler {store_id}",
        accepted=((200, "The scheduler is created."), (200, "The scheduler has been applied to the store.")),
        # ErrSchedulerExisted is absent: it is a race with somebody, and only a look tells who won.
        refused_codes=("PD:core:ErrStoreNotFound", "PD:core:ErrPauseLeaderTransfer"),
        refused_texts=("missing store id", "missing scheduler name", "unknown scheduler"),
    ),
    "remove_evict_leader": Kind(
        method="DELETE",
        path=f"{PREFIX}/schedulers/evict-leader-scheduler-{{store_id}}",
        args=("store_id",),
        by_hand="pd-ctl scheduler remove evict-leader-scheduler-{store_id}",
        accepted=((200, "null"),),
        already=((404, "null"),),  # not there; a look follows, for it may come back (tikv/pd#4707)
    ),
    "pause_scheduler": Kind(
        method="POST",
        path=f"{PREFIX}/schedulers/{{scheduler}}",
        args=("scheduler", "delay_s"),
        spelled={"scheduler": SCHEDULER},
        body=lambda args: {"delay": args["delay_s"]},
        by_hand="pd-ctl scheduler pause {scheduler} {delay_s}",
        accepted=_PAUSED,  # PD says the same of one that was paused, and begins anew to count
        refused_codes=("PD:scheduler:ErrSchedulerNotFound",),
        refused_texts=("missing pause time",),
        volatile=True,
    ),
    "resume_scheduler": Kind(
        method="POST",
        path=f"{PREFIX}/schedulers/{{scheduler}}",
        args=("scheduler",),
        spelled={"scheduler": SCHEDULER},
        body=lambda _: {"delay": 0},
        by_hand="pd-ctl scheduler resume {scheduler}",
        accepted=_PAUSED,  # and of one that was not paused
        already=((500, "[PD:scheduler:ErrSchedulerNotFound]scheduler not found"),),  # its pause went with it
        volatile=True,
    ),
    "transfer_leader": Kind(
        method="POST",
        path=f"{PREFIX}/operators",
        args=("region_id", "to_store_id"),
        body=lambda args: {
            "name": "transfer-leader",
            "region_id": args["region_id"],
            "to_store_id": args["to_store_id"],
        },
        by_hand="pd-ctl operator add transfer-leader {region_id} {to_store_id}",
        accepted=((200, "The operator is created."),),
        already=((500, "no operator step is built"),),  # it leads there
        refused_codes=("PD:region:ErrRegionNotFound", "PD:operator:ErrAddOperator"),
        refused_texts=(
            r"region has no voter in store \d+",
            r"cannot transfer leader to \d+: unhealthy",
            r"cannot create operator: target leader is not allowed",
            r"cannot build operator for region with no leader",
            r"cannot build operator for region which is in joint state",
            r"missing operator name|missing region id|missing store id to transfer leader to|unknown operator",
        ),
    ),
    "transfer_peer": Kind(
        method="POST",
        path=f"{PREFIX}/operators",
        args=("region_id", "from_store_id", "to_store_id"),
        body=lambda args: {
            "name": "transfer-peer",
            "region_id": args["region_id"],
            "from_store_id": args["from_store_id"],
            "to_store_id": args["to_store_id"],
        },
        by_hand="pd-ctl operator add transfer-peer {region_id} {from_store_id} {to_store_id}",
        accepted=((200, "The operator is created."),),
        # Absent: ErrAddOperator, "region has no peer in store", "cannot add peer": it may be our own operator that PD
        # is at, or has ended, for a copy takes minutes. Only a look tells. And "cannot build operator": that passes by
        # itself, and three refusals end an undo.
        refused_codes=(
            "PD:region:ErrRegionNotFound",
            "PD:core:ErrStoreNotFound",
            "PD:core:ErrStoreRemoved",
            "PD:core:ErrStoreUnhealthy",
        ),
        refused_texts=(
            r"missing operator name|missing region id|unknown operator|invalid store id to transfer peer (?:from|to)",
        ),
    ),
    "split_region": Kind(
        method="POST",
        path=f"{PREFIX}/operators",
        args=("region_id", "version"),  # the epoch version that is split: PD takes no such condition
        body=lambda args: {"name": "split-region", "region_id": args["region_id"], "policy": "approximate"},
        by_hand="pd-ctl operator add split-region {region_id} --policy=approximate",
        accepted=((200, "The operator is created."),),
        refused_codes=("PD:region:ErrRegionNotFound", "PD:operator:ErrAddOperator"),
        refused_texts=(
            r"cannot split region which is in joint state",
            r"missing operator name|missing region id|missing split policy|unknown operator",
            r"check policy APPROXIMATE is not supported",
        ),
    ),
    "scatter_region": Kind(
        method="POST",
        path=f"{PREFIX}/operators",
        args=("region_id", "conf_ver", "leader_store_id"),  # as it was before: of these only the region is sent
        body=lambda args: {"name": "scatter-region", "region_id": args["region_id"]},
        by_hand="pd-ctl operator add scatter-region {region_id}",
        accepted=((200, "The operator is created."),),  # said too where it sits well, and no operator is
        # ErrAddOperator and "already exist" are absent: it may be our own, and only a look tells.
        refused_codes=("PD:region:ErrRegionNotFound",),
        refused_texts=(
            r"region \d+ is a hot region",
            r"cannot build operator for region with no leader",
            r"missing operator name|missing region id|unknown operator",
        ),
    ),
    "remove_tombstones": Kind(
        method="DELETE",
        path=f"{PREFIX}/stores/remove-tombstone",
        args=(),
        by_hand="pd-ctl store remove-tombstone",
        # PD says the same when there was none. Its error over stores that still have regions comes after it removed the
        # others: that is no refusal.
        accepted=((200, "Remove tombstone successfully."),),
    ),
    "set_store_weight": Kind(
        method="POST",
        path=f"{PREFIX}/store/{{store_id}}/weight",
        args=("store_id", "leader", "region"),
        spelled={"leader": WEIGHT, "region": WEIGHT},
        body=lambda args: {"leader": args["leader"], "region": args["region"]},
        by_hand="pd-ctl store weight {store_id} {leader} {region}",
        # A Tombstone is weighed without complaint.
        accepted=((200, "The store's weight is updated."),),
        refused_codes=("PD:core:ErrStoreNotFound",),
        refused_texts=("(?:leader|region) weight unset", "bad format (?:leader|region) weight"),
    ),
    "set_schedule_config": Kind(
        method="POST",
        path=f"{PREFIX}/config",  # not /config/schedule, which passes over keys that it does not know
        args=("key", "value"),
        spelled={"key": KEY, "value": COUNT},
        body=lambda args: {f"schedule.{args['key']}": args["value"]},
        by_hand="pd-ctl config set {key} {value}",
        accepted=((200, "The config is updated."),),  # and where it was so already
        # The first: BR, Lightning or somebody else has set it for a while, which shows nowhere else.
        refused_texts=(r"need to clean up TTL first for schedule\.[a-z-]+", r"config item [a-z.-]+ not found"),
    ),
}


def add_evict_leader(store_id: int) -> Call:
    return Call(name="add_evict_leader", args={"store_id": str(store_id)})


def remove_evict_leader(store_id: int) -> Call:
    return Call(name="remove_evict_leader", args={"store_id": str(store_id)})


def pause_scheduler(scheduler: str, delay_s: int) -> Call:
    return Call(name="pause_scheduler", args={"scheduler": scheduler, "delay_s": str(delay_s)})


def resume_scheduler(scheduler: str) -> Call:
    return Call(name="resume_scheduler", args={"scheduler": scheduler})


def transfer_leader(region_id: int, to_store_id: int) -> Call:
    return Call(name="transfer_leader", args={"region_id": str(region_id), "to_store_id": str(to_store_id)})


def transfer_peer(region_id: int, from_store_id: int, to_store_id: int) -> Call:
    args = {"region_id": region_id, "from_store_id": from_store_id, "to_store_id": to_store_id}
    return Call(name="transfer_peer", args={name: str(value) for name, value in args.items()})


def split_region(region_id: int, version: int) -> Call:
    return Call(name="split_region", args={"region_id": str(region_id), "version": str(version)})


def scatter_region(region_id: int, *, conf_ver: int, leader_store_id: int) -> Call:
    args = {"region_id": region_id, "conf_ver": conf_ver, "leader_store_id": leader_store_id}
    return Call(name="scatter_region", args={name: str(value) for name, value in args.items()})


def remove_tombstones() -> Call:
    return Call(name="remove_tombstones")


def set_store_weight(store_id: int, leader: float, region: float) -> Call:
    """Of a weight that can't be said, `render` raises BadCall."""
    spelled = {"leader": weight_text(leader) or repr(leader), "region": weight_text(region) or repr(region)}
    return Call(name="set_store_weight", args={"store_id": str(store_id), **spelled})


def set_schedule_config(key: str, value: int) -> Call:
    """Of a value that can't be said, `render` raises BadCall."""
    return Call(name="set_schedule_config", args={"key": key, "value": str(value)})


def can_set(value: int) -> bool:
    """Could a key be set to this?"""
    return COUNT.read(str(value)) is not None


def weight_text(weight: float) -> str | None:
    """The one spelling of a weight; None: it is none that a call could say."""
    text = f"{weight:.2f}".rstrip("0").removesuffix(".")
    return text if WEIGHT.read(text) == weight else None


def render(call: Call) -> Request:
    """The one request that this call is. Raises BadCall."""
    kind, args = _checked(call)
    body = canonical_json(kind.body(args)) if kind.body else ""
    return Request(kind.method, kind.path.format(**args), body)


def by_hand(call: Call) -> str:
    """The same as a person would type it. Raises BadCall."""
    kind, args = _checked(call)
    return kind.by_hand.format(**args)


def judge(call: Call, status: int, content_type: str, body: str) -> tuple[Answer, str, str]:
    """What an answer to this call means: (answer, code, what PD said). Only what the table knows is believed.

    A gateway's page, half a body, a panic, and PD's own "not the leader" (its proxy may have passed the request on) all
    mean that it may have run: look, never guess.
    """
    kind, _ = _checked(call)
    said, is_json = _said(content_type, body)
    shown = said[:SAID_MAX]
    found = _CODE.match(said)
    code = found[1] if found else ""
    if not is_json:
        return "may_have_run", code or f"http_{status}_not_json", shown
    if (status, said) in kind.accepted:
        return "accepted", "", shown
    if (status, said) in kind.already:
        return "accepted", "already_so", shown
    if 400 <= status <= 599 and code in kind.refused_codes:
        return "refused", code, shown
    if 400 <= status <= 599 and any(re.fullmatch(text, said) for text in kind.refused_texts):
        return "refused", "pd_said_no", shown
    if status == 400 and _is_input_error(body):
        return "refused", "input", shown
    return "may_have_run", code or f"http_{status}", shown


def _checked(call: Call) -> tuple[Kind, dict[str, Value]]:
    kind = CALLS.get(call.name)
    if kind is None:
        raise BadCall(f"no call {call.name!r}; there are {', '.join(sorted(CALLS))}")
    if set(call.args) != set(kind.args):
        _bad(call, f"takes {', '.join(kind.args) or 'no arguments'}, got {', '.join(sorted(call.args)) or 'none'}")
    values: dict[str, Value] = {}
    for name, text in call.args.items():
        spelling = kind.spelled.get(name, WHOLE)
        if (value := spelling.read(text)) is None:
            _bad(call, f"{name}={text!r} is not {spelling.words}")
        values[name] = value
    return kind, values


def _bad(call: Call, why: str) -> NoReturn:
    raise BadCall(f"{call.name}: {why}")


def _said(content_type: str, body: str) -> tuple[str, bool]:
    """(text, is it one JSON value?). PD sends strings, objects with `msg`, and once a string encoded twice."""
    text, is_json = body, False
    if content_type.lower().startswith("application/json"):
        try:
            value = json.loads(body)
            if isinstance(value, str) and value.startswith('"'):
                value = json.loads(value)
            if isinstance(value, dict) and isinstance(value.get("msg"), str):
                value = value["msg"]
            text, is_json = value if isinstance(value, str) else canonical_json(value), True
        except (ValueError, RecursionError):
            pass
    return text.strip().encode(errors="replace").decode(), is_json


def _is_input_error(body: str) -> bool:
    """PD could not read our request at all: `{"code":"input",...}`. Called on JSON only."""
    value = json.loads(body)
    return isinstance(value, dict) and value.get("code") == "input"
