"""What an account of infra/clickhouse/grants.py can do, tried as that account.

    python -m tests.integration.clickhouse_accounts MEMBER PATH

does it in a chDB whose one user has the rights and settings of that account, and nothing else: the engine's own access
control, without a server. It prints a JSON object. Each account has a process of its own, since chDB is one a process.
"""

import asyncio
import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from infra.clickhouse.export import Wanted, export
from infra.clickhouse.grants import Account, account, beyond, grants_of, held, short, unfixed
from infra.clickhouse.migrate import migrate
from infra.clickhouse.questions import bind, questions
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import DATABASE, AuditRefused, Store, open_store
from infra.clickhouse.verify import verify_store
from infra.clickhouse.witness import _AUDITED, AuditWitness
from tests.integration.audit_fixtures import CLUSTER, START_MS, keep, the_main_story

# Whoever says one of these changes what is on record, or reads what is not theirs. To be refused to all at run time.
CHANGES = (
    "ALTER TABLE events DELETE WHERE 1",
    "ALTER TABLE events UPDATE actor = 'x' WHERE 1",
    "ALTER TABLE events MODIFY TTL toDateTime(appended_at) + INTERVAL 1 DAY",
    "ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0",
    "ALTER TABLE events DROP COLUMN raw",
    "ALTER TABLE events DROP PARTITION 202701",
    "ALTER TABLE events DETACH PARTITION 202701",
    "ALTER TABLE events FREEZE",
    "DELETE FROM events WHERE 1",
    "UPDATE events SET actor = 'x' WHERE 1",
    "TRUNCATE TABLE events",
    "DROP TABLE events",
    "DROP VIEW events_read",
    "RENAME TABLE events TO gone",
    "OPTIMIZE TABLE events FINAL",
    "SYSTEM STOP MERGES events",
    "INSERT INTO migrations (number, name, sha256) VALUES (99, 'x', 'x')",
    "ALTER TABLE migrations DELETE WHERE 1",
    "CREATE TABLE mine (a UInt8) ENGINE = MergeTree ORDER BY a",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE MATERIALIZED VIEW mine ENGINE = MergeTree ORDER BY topic AS SELECT topic FROM events",
    "CREATE DATABASE mine",
    "DROP DATABASE {database}",
    "GRANT SELECT ON {database}.events TO {user}",
    "CREATE USER mallory",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1', 'LineAsString')",
)
DENIED = {
    "audit": (
        *CHANGES,
        "SELECT raw FROM events",
        "SELECT payload FROM events",
        "SELECT * FROM events",
        "SELECT * FROM events_read",
        "SELECT applied_at FROM migrations",
        "SELECT 1 SETTINGS async_insert = 1",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS timeout_overflow_mode = 'break'",
        "SELECT 1 SETTINGS insert_deduplicate = 0",
    ),
    "auditor": (
        *CHANGES,
        "INSERT INTO events (topic) VALUES ('x')",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_memory_usage = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS max_threads = 1",
        "SET readonly = 0",
        "SET max_memory_usage = 0",
    ),
    "witness": (
        *CHANGES,
        "INSERT INTO events (topic) VALUES ('x')",
        "SELECT payload FROM events",
        "SELECT * FROM events",
        "SELECT count() FROM events_read",
        "SELECT number FROM migrations",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
    ),
    "migrator": (
        "ALTER TABLE events DELETE WHERE 1",
        "TRUNCATE TABLE events",
        "DROP TABLE events",
        "DROP DATABASE {database}",
        "INSERT INTO events (topic) VALUES ('x')",
        "ALTER TABLE migrations DELETE WHERE 1",
        "CREATE TABLE elsewhere.mine (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE USER mallory",
    ),
}


def does(store: Store, member: str) -> list[str]:
    """All that an account is there for, with the code that it is there for. Raises what it is refused."""
    if member == "audit":
        store.check_settings()
        keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
        return [f"{len(store.positions())} positions"]
    if member == "witness":
        witness = AuditWitness(store, within_s=60)
        (at,) = [p for t, p in POSITIONS if t == "outcomes"]
        tails = asyncio.run(witness.tails("outcomes", at, 0))
        assert tails
        assert tails[CLUSTER].seq > 0
        assert store.query(_AUDITED, {"cluster": CLUSTER}).rows  # `audited` takes a refusal for silence
        return [f"seq {tails[CLUSTER].seq}"]
    verdict = verify_store(store)
    assert verdict.ok, verdict.breaks
    for asked in questions().values():
        given = {p.name: EXAMPLES[p.type] for p in asked.params if p.default is None}
        store.query(asked.sql, bind(asked, given))
    assert sum(1 for _ in export(store, Wanted(CLUSTER))) > 0
    assert store.is_there()
    assert store.touched() == []
    return [f"{verdict.counts['records']} records, {len(questions())} questions"]


POSITIONS = the_main_story().records
EXAMPLES = {"String": "x", "UInt64": "1", "DateTime64(3, 'UTC')": "2027-01-01"}


def refused(store: Store, member: str, user: str) -> dict[str, str]:
    """Statement -> the engine's no. What was not refused has an empty one."""
    found = {}
    for template in DENIED[member]:
        statement = template.format(database=store.place.database, user=user)
        try:
            store.query(statement, readonly=False)
        except AuditRefused as error:
            found[template] = str(error)
        else:
            found[template] = ""
    return found


def differs(store: Store, of: Account) -> list[str]:
    """As `steward rbac audit` finds it."""
    has = held(store.granted())
    database = store.place.database
    return [*beyond(of, database, has), *short(of, database, has), *unfixed(of, store.settings(list(of.settings)))]


def configured(directory: Path, of: Account, database: str = DATABASE, more: str = "") -> Path:
    """A configuration of the engine in which its one user is this account. `more`: XML in the user's element."""
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants_of(of, database))
    settings = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in of.settings.items())
    fixed = "".join(f"<{name}><const/></{name}>" for name in of.settings)
    users = directory / f"users-{of.member}.xml"
    users.write_text(
        f"<clickhouse><profiles><default>{settings}<constraints>{fixed}</constraints></default></profiles>"
        "<quotas><default/></quotas><users><default><password/><networks><ip>::/0</ip></networks>"
        f"<profile>default</profile><quota>default</quota><grants>{queries}</grants>{more}</default></users></clickhouse>"
    )
    config = directory / f"config-{of.member}.xml"
    config.write_text(f"<clickhouse><users_config>{users}</users_config></clickhouse>")
    return config


def main(member: str, path: str, hides: str = "") -> None:
    of = account(member)
    more = f"<databases><steward><events><filter>{hides}</filter></events></steward></databases>" if hides else ""
    url = f"chdb:{path}?config-file={configured(Path(path).parent, of, more=more)}"
    said: dict[str, object] = {}
    if member == "migrator":
        said["did"] = [migrate(url), migrate(url)]
    store = open_store(url)
    if hides:
        said["touched"] = [finding.what for finding in store.touched()]
    elif member != "migrator":
        said["did"] = does(store, member)
    said["differs"] = differs(store, of)
    said["refused"] = refused(store, member, "default")
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
