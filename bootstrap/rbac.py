"""`steward rbac`: the rights that derive from the code, written out, and held against what servers grant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bootstrap.production import audit_user, kafka_settings
from infra.settings import ConfigError, Problem, Settings

SYSTEMS = ("kafka", "clickhouse", "kubernetes")
Verdict = Literal["ok", "beyond", "short", "unknown"]


@dataclass(frozen=True)
class Row:
    """One thing about one principal. `unknown`: it could not be asked, or not understood; that is no `ok`."""

    system: str
    principal: str
    verdict: Verdict
    text: str
    unreached: bool = False


def render(settings: Settings, system: str) -> str:
    """For whoever administers it. Raises KeyError for a system that isn't one of SYSTEMS."""
    if system == "kafka":
        from infra.runners.kafka import KafkaSettings
        from infra.topics import render_acls

        return render_acls(KafkaSettings({}, settings.kafka.topic_prefix, settings.kafka.partitions))
    if system == "clickhouse":
        from infra.clickhouse.grants import render as as_sql
        from infra.clickhouse.store import DATABASE, Place

        there = settings.clickhouse
        embedded = there is None or there.url.startswith("chdb:")
        return as_sql(DATABASE if there is None or embedded else Place.parse(there.url).database)
    if system == "kubernetes":
        from infra.kubernetes import render as as_yaml

        return as_yaml()
    raise KeyError(f"no rights are kept for {system!r}; there are {', '.join(SYSTEMS)}")


def audit(settings: Settings) -> list[Row]:
    """What reality grants beyond the tables or short of them, for every principal whose credentials are here."""
    return [*_kafka(settings), *_clickhouse(settings)]


# -- Kafka ----------------------------------------------------------------------------------------------------------


def _kafka(settings: Settings) -> Iterator[Row]:
    from confluent_kafka.admin import AdminClient

    from infra.acls import NoAuthorizer, described, lines
    from infra.publisher import Refused, Unreachable
    from infra.topics import ADMIN, grants

    try:
        kafka = kafka_settings(settings, ADMIN)
    except ConfigError as error:
        yield Row("kafka", ADMIN, "unknown", str(error))
        return
    names = _logins(settings)
    if len(set(names.values())) < len(names):
        yield Row("kafka", "", "beyond", "several roles log in as one user: each may do what the others may")
    try:
        acls = described(AdminClient(dict(kafka.client)), kafka.where)
    except NoAuthorizer as error:
        yield Row("kafka", "everybody", "beyond", str(error))
        return
    except Refused as error:
        yield Row("kafka", ADMIN, "unknown", str(error))
        return
    except Unreachable as error:
        yield Row("kafka", ADMIN, "unknown", str(error), unreached=True)
        return
    wrong = [Row("kafka", who.removeprefix("User:"), v, what) for who, v, what in lines(acls, kafka.prefix, names)]  # type: ignore[arg-type]
    yield from wrong
    concerned = {row.principal for row in wrong}
    for role in dict.fromkeys(g.principal for g in grants(kafka.prefix)):
        if (name := names.get(role, role)) not in concerned:
            yield Row("kafka", name, "ok", "may do what its role needs, and no more")


def _logins(settings: Settings) -> dict[str, str]:
    """Role -> the user that its credentials name, of those that are here and name one."""
    from infra.topics import grants

    found = {}
    for role in dict.fromkeys(g.principal for g in grants("")):
        try:
            user = kafka_settings(settings, role).client.get("sasl.username")
        except ConfigError:
            continue
        if isinstance(user, str) and user:
            found[role] = user
    return found


# -- ClickHouse -----------------------------------------------------------------------------------------------------


def _clickhouse(settings: Settings) -> Iterator[Row]:
    from infra.clickhouse.grants import ACCOUNTS

    there = settings.clickhouse
    if there is None:
        return
    if there.url.startswith("chdb:"):
        yield Row("clickhouse", "", "ok", "embedded: it has one user, who is the process itself")
        return
    if there.credentials is None or there.credentials.kind != "dir":
        yield Row(
            "clickhouse", "", "beyond", "one user for all: the console may write, and the sink may read everything"
        )
        return
    here = [of for of in ACCOUNTS if (there.credentials.path / of.member).exists()]
    if not here:
        reason = f"none of {', '.join(of.member for of in ACCOUNTS)} is in {there.credentials.path}"
        yield Row("clickhouse", "", "unknown", str(Problem("clickhouse.credentials", "directory", reason)))
    for of in here:
        yield from _of_account(settings, there.url, of.member)


def _of_account(settings: Settings, url: str, member: str) -> Iterator[Row]:
    from infra.clickhouse.grants import NotUnderstood, account, beyond, held, short, unfixed
    from infra.clickhouse.store import AuditRefused, AuditUnreachable, open_store

    of = account(member)
    try:
        login = audit_user(settings, member)
        store = open_store(url, login)
    except ConfigError as error:
        yield Row("clickhouse", member, "unknown", str(error))
        return
    user = login[0] if login else member
    try:
        has = held(store.granted())
        database = store.place.database
        wrong = [
            *(Row("clickhouse", user, "beyond", right) for right in beyond(of, database, has)),
            *(Row("clickhouse", user, "short", right) for right in short(of, database, has)),
            *(Row("clickhouse", user, "short", what) for what in unfixed(of, store.settings(list(of.settings)))),
        ]
        yield from wrong or [Row("clickhouse", user, "ok", f"may do what {member} needs, and no more")]
    except NotUnderstood as error:
        yield Row("clickhouse", user, "unknown", str(error))
    except AuditRefused as error:
        yield Row("clickhouse", user, "unknown", str(error))
    except AuditUnreachable as error:
        yield Row("clickhouse", user, "unknown", str(error), unreached=True)
    finally:
        store.close()
