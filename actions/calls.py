"""Every call that Steward may ever make to a cluster, as a typed value; and what each answer to it means.

Nothing else can be rendered: what is not in CALLS can't be said. Deliberately absent, because PD harms itself
(pd-seen.md): `/regions/store/{id}?type=...` (an unknown type freezes the PD leader for good) and
`/scheduler-config/evict-leader-scheduler/config` (its refusal lifts the leader bar of the store); and
`DELETE /store/{id}?force`, after which a store can never come back. So the one query that any path of PD's has is
`?state=Up`, spelled out in its row and without an argument in it, and arguments are whole positive numbers: PD cuts 1.5
to 1 and wraps -1 to 18446744073709551615 (nor is `ttlSecond` ever said: docs/adr). Only where a row says so is one a
weight: a plain decimal above 0 and below 100, for 0 is an eviction by another name; or a rate, which is one below
10^9; or a count, which may be 0; or a word of a list of ours: the type of a store limit, a scheduler that may be
paused, a key of PD's or of TiKV's that may be set; or the size of such a setting, and the address of its store; or the
name of a member of PD. Each value has one spelling: it goes into the digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn, get_args

from actions import status_address, tikv_config
from actions.schedule_keys import ScheduleKey
from schemas.events import Answer
from schemas.facts import StoreFacts
from schemas.values import Call, canonical_json

PREFIX = "/pd/api/v1"
SAID_MAX = 300  # characters of a reply that are repeated to people
_CODE = re.compile(r"\[(PD:[a-z_]+:Err[A-Za-z]+)\]")


class BadCall(Exception):
    """A call that is not in the table, or whose arguments are not what the table says. Nothing may be sent."""


Value = int | float | str


@dataclass(frozen=True)
class Request:
    """One HTTP request, without the endpoint it goes to; of a store's it names the host and port, `server`."""

    method: str
    path: str
    body: str = ""
    server: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.server}{self.path}{' ' + self.body if self.body else ''}"


@dataclass(frozen=True)
class Spelling:
    """What an argument may be: its one spelling, in words for the refusal too."""

    pattern: re.Pattern[str]
    value: Callable[[str], int | float]
    below: float  # where it is a number
    words: str
    above: float = 0

    def read(self, text: str) -> int | float | None:
        """The value that is meant; None: not so spelled."""
        if not self.pattern.fullmatch(text):
            return None
        value = self.value(text)
        return value if self.above < value < self.below else None


# Those that balance, and no others: what drains a slow or a leaving store is not to be held.
PAUSABLE = ("balance-leader-scheduler", "balance-region-scheduler", "balance-hot-region-scheduler")
WHOLE = Spelling(re.compile(r"[1-9][0-9]{0,18}"), int, 2**63, "a whole positive number below 2^63")
WEIGHT = Spelling(
    re.compile(r"(?:0|[1-9][0-9]?)(?:\.[0-9]?[1-9])?"),
    lambda text: float(text) if "." in text else int(text),
    100,
    "a plain decimal above 0 and below 100, with at most 2 places and no needless 0",
)
RATE = Spelling(
    re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]?[1-9])?"),
    WEIGHT.value,
    10**9,  # PD's own "unlimited", which an undo may have to say, is 10^8
    "a plain decimal above 0 and below 10^9, with at most 2 places and no needless 0",
)
COUNT = Spelling(re.compile(r"0|[1-9][0-9]{0,9}"), int, 2**31, "a whole number of 0 or more, below 2^31", above=-1)


@dataclass(frozen=True)
class Word:
    """What an argument that is no number may be; it is sent as it is spelled."""

    is_one: Callable[[str], bool]
    words: str

    def read(self, text: str) -> str | None:
        return text if self.is_one(text) else None


ADDRESS = Word(lambda text: status_address.parsed(text) is not None, "a host:port")
SCHEDULER = Word(lambda text: text in PAUSABLE, f"one of {', '.join(PAUSABLE)}")
KEY = Word(lambda text: text in get_args(ScheduleKey), "a key of PD's schedule configuration that may be set")
LIMIT_TYPE = Word(lambda text: text in ("add-peer", "remove-peer"), "one of add-peer, remove-peer")
MEMBER = Word(
    lambda text: len(text) <= 128 and re.fullmatch(r"[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*", text) is not None,
    "the name of a member of PD: letters, digits, and . _ - between them",
)
SETTING = Word(lambda text: text in tikv_config.KEYS, "a setting of TiKV that is on our list")
SIZE = Word(lambda text: tikv_config.bytes_of(text) is not None, "a size as TiKV shows it, such as 8GiB")


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
    by_hand: str  # as a person types it, template over the arguments, and over the body
    accepted: tuple[tuple[int, str], ...]
    to: Literal["pd", "tikv"] = "pd"  # tikv: to the argument `status_address`, the status port of a store
    body: Callable[[Mapping[str, Value]], object] | None = None
    already: tuple[tuple[int, str], ...] = ()
    refused_codes: tuple[str, ...] = ()
    refused_texts: tuple[str, ...] = ()  # regular expressions over the whole text
    volatile: bool = False
    spelled: Mapping[str, Spelling | Word] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The path, and before it the server where that is not PD."""
        return f"{{status_address}}{self.path}" if self.to == "tikv" else self.path


def _setting(meant: str) -> Kind:
    """One setting of one TiKV, until it restarts: it is sent where the TiKV that is meant shows the value `was`."""
    return Kind(
        to="tikv",
        method="POST",
        path="/config?persist=false",
        args=("store_id", "address", "status_address", "started_at_s", "key", "was", "value"),
        spelled={"address": ADDRESS, "status_address": ADDRESS, "key": SETTING, "was": SIZE, "value": SIZE},
        body=lambda args: {args["key"]: args["value"]},
        by_hand="curl -X POST 'http://{status_address}/config?persist=false' -d '{body}'" + meant,
        accepted=((200, ""),),
        refused_texts=(  # what TiKV says before it changes anything; of what a setting's own code says nothing is known
            r'failed to update, error: "(?:unexpect fields: |config .{1,100} can not be changed|failed to parse: ).*"',
            r"failed to decode, error: .*",
            r"certificate role error",
        ),
    )


_PAUSED = ((200, "Pause or resume the scheduler successfully."),)
# What has a code since: of operators that are made by hand.
BEFORE_7_5 = (r"region \d+ not found", "failed to add operator, maybe already have one")

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
            *BEFORE_7_5,
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
            *BEFORE_7_5,
        ),
    ),
    "offline_store": Kind(
        method="DELETE",
        path=f"{PREFIX}/store/{{store_id}}",  # never with ?force: nothing could take that back
        args=("store_id",),
        by_hand="pd-ctl store delete {store_id}",
        accepted=((200, "The store is set as Offline."),),  # of one that is Offline already too
        refused_codes=(
            "PD:core:ErrStoreNotFound",
            "PD:core:ErrStoreRemoved",
            "PD:core:ErrStoreDestroyed",
            "PD:core:ErrStoresNotEnough",
            "PD:core:ErrNoStoreForRegionLeader",
        ),
    ),
    "cancel_store_offline": Kind(
        method="POST",
        path=f"{PREFIX}/store/{{store_id}}/state?state=Up",
        args=("store_id",),
        by_hand="pd-ctl store cancel-delete {store_id}",
        accepted=((200, "The store's state is updated."),),  # of one that is Up already too
        # ErrStoreRemoved: it is a Tombstone, and nothing takes that back.
        refused_codes=("PD:core:ErrStoreNotFound", "PD:core:ErrStoreRemoved", "PD:core:ErrStoreDestroyed"),
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
    "cancel_operator": Kind(
        method="DELETE",
        path=f"{PREFIX}/operators/{{region_id}}",
        args=("region_id", "created_ns"),  # which one is meant: PD takes no such condition
        by_hand="pd-ctl operator remove {region_id}",
        accepted=((200, "The pending operator is canceled."),),
        refused_codes=("PD:operator:ErrOperatorNotFound",),
        refused_texts=("operator not found",),  # before 7.5
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
        # A Tombstone is weighed without complaint. Before 8.1 PD speaks of the label.
        accepted=((200, "The store's weight is updated."), (200, "The store's label is updated.")),
        refused_codes=("PD:core:ErrStoreNotFound",),
        refused_texts=("(?:leader|region) weight unset", "bad format (?:leader|region) weight"),
    ),
    "transfer_pd_leader": Kind(
        method="POST",
        path=f"{PREFIX}/leader/transfer/{{member}}",
        args=("member",),
        spelled={"member": MEMBER},
        by_hand="pd-ctl member leader transfer {member}",
        accepted=((200, "The transfer command is submitted."),),  # and where it leads already
        refused_texts=("no valid pd to transfer etcd leader",),  # no such member
    ),
    "set_store_limit": Kind(
        method="POST",
        path=f"{PREFIX}/store/{{store_id}}/limit",
        args=("store_id", "limit_type", "per_minute"),
        spelled={"limit_type": LIMIT_TYPE, "per_minute": RATE},
        # Without a type PD sets both, one after the other.
        body=lambda args: {"type": args["limit_type"], "rate": args["per_minute"]},
        by_hand="pd-ctl store limit {store_id} {per_minute} {limit_type}",
        # A Tombstone is limited without complaint.
        accepted=((200, "The store's limit is updated."),),
        refused_codes=("PD:core:ErrStoreNotFound",),
        refused_texts=(
            "rate unset|unknown type|invalid rate which should be larger than 0",
            r"current store limit version:\w+ not support set limit",
        ),
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
    "set_tikv_config": _setting("   # if GET /config there shows {was}"),
    "restore_tikv_config": _setting("   # only where it still shows {was}"),
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


def offline_store(store_id: int) -> Call:
    return Call(name="offline_store", args={"store_id": str(store_id)})


def cancel_store_offline(store_id: int) -> Call:
    return Call(name="cancel_store_offline", args={"store_id": str(store_id)})


def scatter_region(region_id: int, *, conf_ver: int, leader_store_id: int) -> Call:
    args = {"region_id": region_id, "conf_ver": conf_ver, "leader_store_id": leader_store_id}
    return Call(name="scatter_region", args={name: str(value) for name, value in args.items()})


def cancel_operator(region_id: int, created_ns: int) -> Call:
    return Call(name="cancel_operator", args={"region_id": str(region_id), "created_ns": str(created_ns)})


def remove_tombstones() -> Call:
    return Call(name="remove_tombstones")


def set_store_weight(store_id: int, leader: float, region: float) -> Call:
    """Of a weight that can't be said, `render` raises BadCall."""
    spelled = {"leader": weight_text(leader) or repr(leader), "region": weight_text(region) or repr(region)}
    return Call(name="set_store_weight", args={"store_id": str(store_id), **spelled})


def set_store_limit(store_id: int, limit_type: str, per_minute: float) -> Call:
    """Of a rate that can't be said, `render` raises BadCall."""
    rate = rate_text(per_minute) or repr(per_minute)
    return Call(name="set_store_limit", args={"store_id": str(store_id), "limit_type": limit_type, "per_minute": rate})


def transfer_pd_leader(member: str) -> Call:
    """Of a name that can't be said, `render` raises BadCall."""
    return Call(name="transfer_pd_leader", args={"member": member})


def can_name(member: str) -> bool:
    """Could a call say this name of a member of PD?"""
    return MEMBER.read(member) is not None


def set_schedule_config(key: str, value: int) -> Call:
    """Of a value that can't be said, `render` raises BadCall."""
    return Call(name="set_schedule_config", args={"key": key, "value": str(value)})


def can_set(value: int) -> bool:
    """Could a key be set to this?"""
    return COUNT.read(str(value)) is not None


def set_tikv_config(store: StoreFacts, key: str, was: str, value: str) -> Call:
    """Where an argument can't be said, `render` raises BadCall."""
    return Call(name="set_tikv_config", args=_of_store(store) | {"key": key, "was": was, "value": value})


def restore_tikv_config(store: StoreFacts, key: str, was: str, value: str) -> Call:
    """Its undo: where the process has ended that had it, or somebody has set another value, there is nothing to do."""
    return Call(name="restore_tikv_config", args=_of_store(store) | {"key": key, "was": was, "value": value})


def _of_store(store: StoreFacts) -> dict[str, str]:
    return {
        "store_id": str(store.id),
        "address": store.address,
        "status_address": store.status_address,
        "started_at_s": str(store.started_at_s),
    }


def weight_text(weight: float) -> str | None:
    """The one spelling of a weight; None: it is none that a call could say."""
    return _plain_text(weight, WEIGHT)


def rate_text(rate: float) -> str | None:
    """The one spelling of a rate; None: it is none that a call could say."""
    return _plain_text(rate, RATE)


def _plain_text(number: float, spelling: Spelling) -> str | None:
    text = f"{number:.2f}".rstrip("0").removesuffix(".")
    return text if spelling.read(text) == number else None


def render(call: Call) -> Request:
    """The one request that this call is. Raises BadCall."""
    kind, args = _checked(call)
    server = str(args["status_address"]) if kind.to == "tikv" else ""
    return Request(kind.method, kind.path.format(**args), _body(kind, args), server)


def by_hand(call: Call) -> str:
    """The same as a person would type it. Raises BadCall."""
    kind, args = _checked(call)
    return kind.by_hand.format(**args, body=_body(kind, args))


def _body(kind: Kind, args: Mapping[str, Value]) -> str:
    return canonical_json(kind.body(args)) if kind.body else ""


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
    if kind.to == "tikv" and content_type:  # it types none of these answers: somebody in between has written this one
        return "may_have_run", f"http_{status}_not_tikv", shown
    if kind.to == "pd" and not is_json:
        return "may_have_run", code or f"http_{status}_not_json", shown
    if (status, said) in kind.accepted:
        return "accepted", "", shown
    if (status, said) in kind.already:
        return "accepted", "already_so", shown
    if 400 <= status <= 599 and code in kind.refused_codes:
        return "refused", code, shown
    if 400 <= status <= 599 and any(re.fullmatch(text, said) for text in kind.refused_texts):
        return "refused", f"{kind.to}_said_no", shown
    if is_json and status == 400 and _is_input_error(body):
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
