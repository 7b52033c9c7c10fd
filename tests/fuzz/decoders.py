"""Every decoder of what comes from outside: what it is given to begin with, and what it may raise.

A decoder's clear errors say what is wrong, in words for a person. Whatever else it raises is a bug of ours.
"""

from __future__ import annotations

import base64
import json
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from joserfc import jwk, jws
from pydantic import ValidationError

from actions.calls import PREFIX, judge
from agents.offers import proposal_reply
from agents.replies import BadReply, diagnosis_reply
from console.keys import make_key
from infra import pd_parse, settings
from infra.runners.books import Raw, admitted, fold_control
from pdsim.http import answer
from pdsim.model import Cluster
from pdsim.wire import Request, Response
from schemas import alertmanager
from schemas import events as e
from schemas.chain import edge
from schemas.controls import Controls
from schemas.facts import Facts, Look, NoFacts
from schemas.policy import Policy
from schemas.signing import BadSignature, Claims, kid_of, public_of, sign, verify
from schemas.values import Call, Evidence, canonical_json
from schemas.wire import decode, decode_registered, frame
from streams.intake import check

BODIES = Path(__file__).parents[1] / "data" / "alertmanager"
CLUSTER = "prod-eu-7"
NOW_MS = 1_800_000_000_000
EVIDENCE = (Evidence(id="E1", text="store 4 is slow", source="GET /stores", entities=("store:4",), seen_at_ms=NOW_MS),)


@dataclass(frozen=True)
class Decoder:
    """`seeds` are good inputs: each decodes without an error."""

    name: str
    decode: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], tuple[bytes, ...]]


# -- alerts and events ----------------------------------------------------------------------------------------------


def _webhooks() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(BODIES.glob("*.json")))


@cache
def _events() -> tuple[e.Event, ...]:
    alerts = [alert.model_copy(update={"cluster_id": CLUSTER}) for alert in alertmanager.parse(_webhooks()[0])]
    return (
        *alerts,
        e.Frozen(cluster_id=CLUSTER, by="anna", reason="hands off"),
        e.Halted(cluster_id="*", by="anna", reason="hands off"),
        e.PolicyAdopted(cluster_id="*", by="anna", reason="new", version=1, policy_json=canonical_json({})),
        e.Lifted(cluster_id="*", by="anna", reason="well", kind="input", input="approvals/0@7"),
    )


def _framed(*kinds: type[e.Event]) -> tuple[bytes, ...]:
    return tuple(frame(type(x), edge(x, "fuzz", NOW_MS).body) for x in _events() if not kinds or isinstance(x, kinds))


def _registered() -> tuple[bytes, ...]:
    return tuple(b"\x00\x00\x00\x00\x07" + value[10:] for value in _framed(e.AlertReceived))


def _raw(topic: str, value: bytes) -> Raw:
    return Raw(topic, 0, 0, NOW_MS, None, value)


def _of_intake(value: bytes) -> object:
    labels = {CLUSTER: {"env": CLUSTER}}
    return check(_raw("alerts", value), NOW_MS, labels, 3)


def _of_controls(value: bytes) -> object:
    """What can't be read stops acting; it is never an error."""
    folded = fold_control(Controls(), _raw("controls", value))
    return folded.refuses_forward(CLUSTER)


# -- PD -------------------------------------------------------------------------------------------------------------

LOOK = Look(region_ids=(2,), operators_of=(2,))
OPERATOR = (
    b'"status: RUNNING, operator: balance-region-scheduler {mv peer: store [1] to [4]} (kind:region, region:2(3, 12), '
    b"createAt:2026-11-23 15:52:00.926094955 +0000 UTC m=+125.496320521, startAt:2026-11-23 15:52:01 +0000 UTC, "
    b'currentStep:0, size:96, steps:[0:{add learner peer 9 on store 4}], timeout:[17m0s])"\n'
)
CHANGE = Call(name="add_evict_leader", args={"store_id": "4"})


@cache
def _answers() -> Mapping[str, bytes]:
    """Of a healthy PD, by path."""
    cluster = Cluster.healthy(cluster_id=7168243901123456, now=NOW_MS / 1000, stores=4, regions=12, seed=1)
    found = {}
    for path in (*pd_parse.READS, *(pd_parse.region_path(n) for n in LOOK.region_ids)):
        bare, _, query = (PREFIX + path).partition("?")
        given = answer(cluster, Request("GET", bare, query), NOW_MS / 1000)
        assert isinstance(given, Response)
        if given.status == 200:
            found[path] = given.body
    return found | {pd_parse.operator_path(n): OPERATOR for n in LOOK.operators_of}


def _facts(data: bytes) -> Facts:
    """The first byte says which of PD's answers has this body."""
    paths = [path for path in _answers()]
    said = {path: pd_parse.Said(200, _answers()[path]) if path in _answers() else ABSENT for path in _all_paths()}
    if data:
        said[paths[data[0] % len(paths)]] = pd_parse.Said(200, data[1:])
    return pd_parse.facts(said, LOOK, pd_parse.Pass(CLUSTER, NOW_MS, 3, 900.0))


ABSENT = pd_parse.Said(404, b"")


def _all_paths() -> tuple[str, ...]:
    of_regions = [pd_parse.region_path(n) for n in LOOK.region_ids]
    return (*pd_parse.READS, *of_regions, *(pd_parse.operator_path(n) for n in LOOK.operators_of))


def healthy_facts() -> Facts:
    """Of four stores, all well."""
    return _facts(b"")


def _facts_seeds() -> tuple[bytes, ...]:
    return tuple(bytes([n]) + body for n, body in enumerate(_answers().values()))


def _written(data: bytes) -> object:
    """What PD answers to a change: two bytes of status, then the body."""
    status = 100 + int.from_bytes(data[:2].ljust(2, b"\0"), "big") % 500
    found, code, text = judge(CHANGE, status, "application/json", data[2:].decode("utf-8", "replace"))
    assert found in ("accepted", "refused", "may_have_run", "never_sent"), (code, text)
    return found


def _written_seeds() -> tuple[bytes, ...]:
    def said(status: int, body: str) -> bytes:
        return (status - 100).to_bytes(2, "big") + body.encode()

    return (said(200, '"The scheduler is created."\n'), said(500, '"[PD:apiutil:ErrRedirectToNotLeader]not leader"'))


# -- the model, people, configuration -------------------------------------------------------------------------------


def _diagnoses() -> tuple[bytes, ...]:
    reply = {"cause": "slow_store", "confidence": 0.9, "summary": "slow", "cited": ["E1"]}
    return (json.dumps({**reply, "ruled_out": [{"what": "a hot region", "evidence": ["E1"]}]}).encode(),)


def _proposals() -> tuple[bytes, ...]:
    choice = {"action": "evict_store_leaders", "params": {"store_id": 4, "keep_s": 600}}
    nothing = {"action": "nothing", "params": {}}
    return tuple(json.dumps({"proposal": p, "why": "slow", "cited": ["E1"]}).encode() for p in (choice, nothing))


@cache
def _key() -> Mapping[str, str]:
    return make_key()


@cache
def _tokens() -> tuple[bytes, ...]:
    claims: dict[str, Any] = {
        "environment": "test", "pd_cluster_id": 7, "remediation_id": "R-1", "digest": "d" * 64, "decision": "approve",
        "person": "anna", "via": "cli", "iat": NOW_MS, "exp": NOW_MS + 1, "approval_id": "A1", "reason": "",
    }  # fmt: skip
    return (sign(_key(), Claims(**claims)).encode(),)


def _verified(data: bytes) -> object:
    return verify(data.decode("utf-8", "replace"), {kid_of(_key()): public_of(_key())})


def _of_header(data: bytes) -> object:
    """A token that begins with these bytes."""
    return _verified(b".".join([_b64(data), *_tokens()[0].split(b".")[1:]]))


def _of_claims(data: bytes) -> object:
    """What somebody who holds a key has signed."""
    key = jwk.import_key(dict(_key()))
    header = jws.extract_compact(_tokens()[0]).headers()
    return _verified(jws.serialize_compact(header, data, key, algorithms=[header["alg"]]).encode())


def _opened(part: int) -> bytes:
    """Of a good token."""
    text = _tokens()[0].split(b".")[part]
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _configured(data: bytes) -> object:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        return settings.load(file.name, {})


def _configurations() -> tuple[bytes, ...]:
    cluster = b'[clusters.a]\nalert_labels = { env = "a" }\npd = ["http://127.0.0.1:2379"]\npd_cluster_id = 7\n'
    return (
        b'environment = "test"\n[kafka]\nbootstrap = "127.0.0.1:9092"\npartitions = 3\n' + cluster,
        b'environment = "test"\n[execution]\npoll_s = 5.0\n[playbook]\nkeep_s = 120\n' + cluster,
    )


def _policy(data: bytes) -> object:
    try:
        return Policy.model_validate(tomllib.loads(data.decode("utf-8", "replace")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from error


def _policies() -> tuple[bytes, ...]:
    return (
        b"[actions.evict_store_leaders]\nmode = 'on'\n[limits]\nsettling_s = 20\ncooldown_s = 0\n",
        b"[actions.remove_tombstones]\nmode = 'dry_run'\n",
    )


DECODERS: Mapping[str, Decoder] = {
    decoder.name: decoder
    for decoder in (
        Decoder("webhook", alertmanager.parse, (e.Unreadable,), _webhooks),
        Decoder("event", decode, (e.Unreadable,), _framed),
        Decoder(
            "registered-event",
            lambda data: decode_registered(data, e.AlertReceived),
            (e.Unreadable,),
            _registered,
        ),
        Decoder("record", lambda data: admitted(_raw("controls", data), 3), (e.Unreadable,), lambda: _framed(e.Frozen)),
        Decoder("intake", _of_intake, (), lambda: (*_webhooks(), *_framed(e.AlertReceived), *_registered())),
        Decoder("controls", _of_controls, (), lambda: _framed(e.Frozen, e.Halted, e.PolicyAdopted, e.Lifted)),
        Decoder("pd-facts", _facts, (NoFacts,), _facts_seeds),
        Decoder("pd-write", _written, (), _written_seeds),
        Decoder(
            "diagnosis-reply",
            lambda data: diagnosis_reply(data.decode("utf-8", "replace"), EVIDENCE),
            (BadReply,),
            _diagnoses,
        ),
        Decoder(
            "proposal-reply",
            lambda data: proposal_reply(data.decode("utf-8", "replace"), EVIDENCE, ("evict_store_leaders",)),
            (BadReply,),
            _proposals,
        ),
        Decoder("approval", _verified, (BadSignature,), _tokens),
        Decoder("approval-header", _of_header, (BadSignature,), lambda: (_opened(0),)),
        Decoder("approval-claims", _of_claims, (BadSignature,), lambda: (_opened(1),)),
        Decoder("configuration", _configured, (settings.ConfigError,), _configurations),
        Decoder("policy", _policy, (ValidationError, ValueError), _policies),
    )
}
