"""The hands of production: how a role reaches Kafka, PD, the model and people, each with credentials of its own."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bootstrap.roles import Hands
from infra.settings import ConfigError, Problem, Settings

if TYPE_CHECKING:
    import ssl

    from executors.execute import Writer
    from infra.clickhouse.store import Store
    from infra.clickhouse.witness import AuditWitness
    from infra.pd import PdReader
    from infra.runners.kafka import KafkaSettings
    from infra.runners.owner import ControlsPort
    from infra.settings import Secret
    from schemas.facts import Facts, Look


def kafka_settings(settings: Settings, role: str, *, isolated: bool = True) -> KafkaSettings:
    """How this role reaches the broker: its own credentials, a librdkafka properties file. Raises ConfigError."""
    from infra.runners.kafka import KafkaSettings

    # By itself librdkafka writes to stderr, between the lines of JSON (infra.telemetry).
    quiet = {"log_level": 2, "logger": logging.getLogger("librdkafka")}
    client: dict[str, Any] = {"bootstrap.servers": settings.kafka.bootstrap, **quiet}
    if settings.kafka.credentials:
        for line in settings.kafka.credentials.member(role).read().splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith("#"):
                client[name.strip()] = value.strip()
    return KafkaSettings(client, settings.kafka.topic_prefix, settings.kafka.partitions, isolated)


def tls(secret: Secret | None, field: str) -> ssl.SSLContext | None:
    """ca.pem, and cert.pem with key.pem where PD asks for them, in a `dir:` secret. Raises ConfigError."""
    import ssl

    if secret is None:
        return None
    there = secret.path
    try:
        context = ssl.create_default_context(cafile=str(there / "ca.pem"))
        if (there / "cert.pem").exists():
            context.load_cert_chain(there / "cert.pem", there / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(Problem(field, "directory", f"no usable certificates: {error}")) from None
    return context


def pd_reader(settings: Settings, *names: str) -> PdReader:
    """Of these clusters; by default of all."""
    from infra.pd import PdEndpoint, PdReader

    return PdReader(
        {
            name: PdEndpoint(c.pd, c.pd_cluster_id, tls(c.tls_read, f"clusters.{name}.tls_read"))
            for name, c in settings.clusters.items()
            if not names or name in names
        }
    )


def pd_writer(settings: Settings) -> Callable[[str, frozenset[str]], Writer]:
    """Write credentials are read here alone, in the process that executes."""
    from executors.tikv import ClusterWriter

    contexts = {n: tls(c.tls_write, f"clusters.{n}.tls_write") for n, c in settings.clusters.items()}

    def writer(cluster_id: str, may_call: frozenset[str]) -> Writer:
        known = settings.clusters.get(cluster_id)  # renamed while something is open there: no PD is reached
        return ClusterWriter(known.pd if known else (), may_call=may_call, tls=contexts.get(cluster_id))

    return writer


LOOKS_AT_PD = frozenset({"diagnose", "propose", "validate", "execute"})


class NoPd:
    """The reader of a process whose roles look at no cluster: it holds no credentials."""

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        raise RuntimeError("no role of this process looks at PD")


def no_writer(cluster_id: str, may_call: frozenset[str]) -> Writer:
    raise RuntimeError("only `execute` may write to a cluster")


def thinker(settings: Settings) -> Any:
    """Claude where a key is configured; its library is imported when it is first asked."""
    if settings.model is None:
        return None
    from agents.claude import Claude

    return Claude(settings.model.name, settings.model.api_key.read(), settings.model.base_url)


def production_hands(settings: Settings, roles: Sequence[str], controls: ControlsPort, mode_max: str) -> Hands:
    from console.keys import public_keys
    from infra.deadline import KernelWindow
    from infra.sinks import Sinks

    return Hands(
        reader=pd_reader(settings) if LOOKS_AT_PD & set(roles) else NoPd(),
        writer=pd_writer(settings) if "execute" in roles else no_writer,
        window=KernelWindow,
        controls=controls,
        thinker=thinker(settings) if {"diagnose", "propose"} & set(roles) else None,
        deliver=Sinks({name: s.url.read() for name, s in settings.sinks.items()} if "notify" in roles else {}),
        sinks=tuple(settings.sinks),
        keys=public_keys(settings) if {"remediations", "execute"} & set(roles) else {},
        witness=audit_witness(settings) if {"remediations", "execute"} & set(roles) else None,
        mode_max=mode_max,
        owner=f"{socket.gethostname()}/{os.getpid()}",
    )


def open_audit(settings: Settings, member: str) -> Store:
    """The audit store as configured, for whom `member` names: `audit` writes, `auditor` reads. It connects when it is
    first used. Raises ConfigError."""
    from infra.clickhouse.store import open_store

    if settings.clickhouse is None:
        raise ConfigError(Problem("clickhouse.url", "nothing", "there is no audit store without it"))
    return open_store(settings.clickhouse.url, audit_user(settings, member))


def audit_witness(settings: Settings) -> AuditWitness | None:
    """Who acts may ask the audit, with `witness` among its credentials; an embedded engine belongs to the process that
    runs `audit`. Raises ConfigError."""
    there = settings.clickhouse
    if there is None or there.url.startswith("chdb:") or (there.credentials and not there.credentials.has("witness")):
        return None
    from infra.clickhouse.store import open_store
    from infra.clickhouse.witness import AuditWitness

    return AuditWitness(open_store(there.url, audit_user(settings, "witness")))


def audit_user(settings: Settings, role: str) -> tuple[str, str] | None:
    """(user, password) of a role, `user:password` in its file."""
    there = settings.clickhouse
    if there is None or there.credentials is None or there.url.startswith("chdb:"):
        return None
    user, _, password = there.credentials.member(role).read().partition(":")
    return user, password


def now_ms() -> int:
    return int(time.time() * 1000)
