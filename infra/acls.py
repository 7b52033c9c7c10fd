"""A broker's ACLs held against what each role is to have (infra.topics.grants). `described` asks a broker; all else is
pure.

What somebody else may do on our topics counts too: each has one writer. Left out is what is public: any monitor may
write `alerts`, and anybody may read the incidents, the diagnoses, the remediations and the outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from infra.publisher import Refused, Unreachable
from infra.topics import CALL_TIMEOUT_S, Grant, grants, wanted

PUBLIC = ("incidents", "diagnoses", "remediations", "outcomes")
ANYBODY = "User:*"
_KINDS = {
    ResourceType.TOPIC: "topic",
    ResourceType.GROUP: "group",
    ResourceType.TRANSACTIONAL_ID: "transactional-id",
    ResourceType.BROKER: "cluster",
}
_IMPLIES = {  # as Kafka's authorizer has it
    "DESCRIBE": ("READ", "WRITE", "DELETE", "ALTER"),
    "DESCRIBE_CONFIGS": ("ALTER_CONFIGS",),
}


NOT_SHOWN = "it shows no ACL: this user may not describe them, or there is none (`admin` needs Describe on the cluster)"


class NoAuthorizer(Exception):
    """The broker asks nobody for rights: everybody may do everything."""


@dataclass(frozen=True, order=True)
class Acl:
    """One rule of a broker. `principal` begins with `User:`."""

    principal: str
    kind: str
    name: str
    prefixed: bool
    operation: str
    allows: bool = True

    def __str__(self) -> str:
        star = "*" if self.prefixed else ""
        return f"{self.operation} on {self.kind} {self.name}{star}{'' if self.allows else ' is denied'}"


def described(admin: AdminClient, where: str) -> list[Acl]:
    """All of a broker's. Raises NoAuthorizer, Unreachable, or Refused where this user may not ask."""
    anything: Any = None
    everything = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        anything,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found = _answered(admin.describe_acls(everything, request_timeout=CALL_TIMEOUT_S), where)
    if not found:  # librdkafka makes the same empty answer of the broker's no, and of there being no authorizer
        cluster = _answered(admin.describe_cluster(include_authorized_operations=True), where)
        if AclOperation.ALTER in (cluster.authorized_operations or ()):
            raise NoAuthorizer(f"{where} has no ACL, and this user may do everything: it asks nobody for rights")
        raise Refused(f"{where}: {NOT_SHOWN}")
    return sorted(_acl(binding) for binding in found if binding.restype in _KINDS)


def _answered(future: Any, where: str) -> Any:
    try:
        return future.result(CALL_TIMEOUT_S + 5)
    except KafkaException as failure:
        raise Unreachable(f"{where}: {failure.args[0].str()}") from failure
    except TimeoutError as late:
        raise Unreachable(f"{where}: no answer in time") from late


def _acl(binding: AclBinding) -> Acl:
    return Acl(
        binding.principal,
        _KINDS[ResourceType(binding.restype)],
        binding.name,
        binding.resource_pattern_type == ResourcePatternType.PREFIXED,
        AclOperation(binding.operation).name,
        binding.permission_type == AclPermissionType.ALLOW,
    )


def beyond(acls: Iterable[Acl], prefix: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(principal, what it may do and should not). `names`: role -> the user that it logs in as."""
    table = grants(prefix)
    ours = {f"User:{names.get(g.principal, g.principal)}" for g in table}
    found = []
    for acl in acls:
        mine = [g for g in table if f"User:{names.get(g.principal, g.principal)}" == acl.principal]
        if not acl.allows:
            continue
        if acl.principal in ours:
            if not any(_within(acl, g) for g in mine):
                found.append((acl.principal, str(acl)))
        elif harm := _of_a_stranger(acl, prefix):
            found.append((acl.principal, f"{acl}, and so on {harm}"))
    return found


def short(acls: Sequence[Acl], prefix: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(principal, what it should be able to do and may not)."""
    found = []
    for grant in grants(prefix):
        who = f"User:{names.get(grant.principal, grant.principal)}"
        about = [a for a in acls if a.principal in (who, ANYBODY) and a.kind == grant.kind and _reaches(a, grant)]
        denied = any(not a.allows and a.operation in ("ALL", grant.operation) for a in about)
        if denied or not any(a.allows and _includes(a.operation, grant.operation) for a in about):
            text = str(Acl(who, grant.kind, grant.name, grant.prefixed, grant.operation))
            found.append((who, f"{text}{' is denied' if denied else ''}"))
    return found


def _within(acl: Acl, grant: Grant) -> bool:
    """Is it no more than this grant, or what the grant implies?"""
    same = acl.kind == grant.kind and _includes(grant.operation, acl.operation)
    if grant.prefixed:
        return same and acl.name.startswith(grant.name)
    return same and not acl.prefixed and acl.name == grant.name


def _reaches(acl: Acl, grant: Grant) -> bool:
    if acl.prefixed:
        return grant.name.startswith(acl.name)
    return acl.name == "*" or (acl.name == grant.name and not grant.prefixed)


def _includes(has: str, needed: str) -> bool:
    return has in ("ALL", needed, *_IMPLIES.get(needed, ()))


def _of_a_stranger(acl: Acl, prefix: str) -> str:
    """What of ours somebody who is no role could touch by it, shortened; nothing: that is public, or not ours."""
    if acl.kind == "transactional-id":
        ids = {g.name for g in grants(prefix) if g.kind == acl.kind}
        return _shortened(i for i in ids if acl.name == "*" or i.startswith(acl.name) or acl.name.startswith(i))
    if acl.kind != "topic":
        return ""
    there = (t.name for t in wanted(prefix, 1))
    reached = [t for t in there if acl.name == "*" or t == acl.name or (acl.prefixed and t.startswith(acl.name))]
    return _shortened(t for t in reached if not _is_public(t.removeprefix(prefix), acl.operation))


def _is_public(topic: str, operation: str) -> bool:
    if operation in ("DESCRIBE", "DESCRIBE_CONFIGS"):
        return True
    return (topic, operation) == ("alerts", "WRITE") or (topic in PUBLIC and operation == "READ")


NAMED_MAX = 3


def _shortened(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return ", ".join(found[:NAMED_MAX]) + more


def lines(acls: Sequence[Acl], prefix: str, names: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(principal, `beyond` or `short`, what)."""
    yield from ((who, "beyond", what) for who, what in beyond(acls, prefix, names))
    yield from ((who, "short", what) for who, what in short(acls, prefix, names))
