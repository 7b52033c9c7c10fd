"""A configuration is used whole or refused with every field that is wrong; nothing secret is ever in what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actions.catalogue import FORBIDDEN
from bootstrap.production import pd_writer
from infra.settings import ConfigError, Secret, load, parse, secrets
from schemas.facts import NoFacts
from schemas.policy import LimitsPolicy

AS_A_USER_WRITES_IT = """
environment = "prod"
[kafka]
bootstrap = "kafka:9093"
topic_prefix = "sre.steward."
credentials = "dir:/run/secrets/kafka"
[clickhouse]
url = "https://clickhouse:8443/steward"
credentials = "dir:/run/secrets/clickhouse"
[model]
name = "claude-opus-5-5"
api_key = "file:claude"
deadline_s = 60
[clusters.prod-eu-7]
alert_labels = { env = "prod-eu-7" }
pd = ["https://pd0:2379", "https://pd1:2379"]
pd_cluster_id = 7168243901123456
tls_read = "dir:/run/secrets/prod-eu-7-read"
tls_write = "dir:/run/secrets/prod-eu-7-write"
tier = 1
[sinks.chat]
url = "file:/run/secrets/chat-url"
[policy]
default_mode = "observe"
[policy.actions.evict_store_leaders]
mode = "on"
canary = ["prod-eu-7"]
[policy.approval]
low = "auto"
medium = "one"
high = "two"
[policy.notify]
routine = "log"
notable = "chat"
critical = "all"
"""


NIGHTS = {"kind": "quiet", "start": "22:00", "end": "07:00"}


def cluster(**more: Any) -> dict[str, Any]:
    return {"alert_labels": {"env": "a"}, "pd": ["http://pd0:2379"], "pd_cluster_id": 1, **more}


def refused(**given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        parse({"environment": "test", **given})
    return error.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "steward.toml"
    path.write_text(AS_A_USER_WRITES_IT)
    return path


def test_the_configuration_of_the_manual_loads(file: Path) -> None:
    settings = load(file, {})

    assert settings.clusters["prod-eu-7"].pd == ("https://pd0:2379", "https://pd1:2379")
    assert settings.policy.version == 0
    assert settings.policy.actions["evict_store_leaders"].mode == "on"
    assert settings.console.address() == "http://127.0.0.1:9096"


def test_the_environment_wins_over_the_file_and_finds_names_with_dashes(file: Path) -> None:
    settings = load(
        file,
        {
            "STEWARD_KAFKA__BOOTSTRAP": "other:9092",
            "STEWARD_CLUSTERS__PROD_EU_7__TIER": "3",
            "STEWARD_CLUSTERS__PROD_EU_7__PD": "https://a:2379,https://b:2379",
            "STEWARD_TOKEN": "of the command line",
            "STEWARD_SERVICE_HOST": "as Kubernetes names a service",
        },
    )

    assert settings.kafka.bootstrap == "other:9092"
    assert settings.clusters["prod-eu-7"].tier == 3
    assert settings.clusters["prod-eu-7"].pd == ("https://a:2379", "https://b:2379")


def test_an_unknown_key_is_refused_and_the_near_one_named() -> None:
    error = refused(kafka={"bootstap": "kafka:9092"})

    assert (error.field, error.kind) == ("kafka.bootstap", "text")
    assert "did you mean bootstrap" in error.reason


def test_an_unknown_key_from_the_environment_is_refused_too(file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(file, {"STEWARD_KAFKA__BOOTSTAP": "x"})

    assert error.value.field == "kafka.bootstap"


def test_every_problem_is_listed_and_not_the_first_only() -> None:
    error = refused(clusters={"a": cluster(pd=["ftp://x"], pd_cluster_id="many")}, gateway={"listen": "nowhere"})

    assert {p.field for p in error.problems} == {"clusters.a.pd", "clusters.a.pd_cluster_id", "gateway.listen"}


@pytest.mark.parametrize("given", ["sk-the-secret-itself", "file:", "env:not a name", 17])
def test_a_secret_given_itself_is_refused_and_not_repeated(given: Any) -> None:
    error = refused(model={"name": "m", "api_key": given})

    assert error.field == "model.api_key"
    assert "the-secret-itself" not in str(error)


@pytest.mark.parametrize("given", ["/var/lib/steward", "file:", "s3://bucket/x", "dir:kept", 17])
def test_checkpoints_go_to_a_directory_of_this_host(given: Any, tmp_path: Path) -> None:
    error = refused(audit={"checkpoints": given})
    assert (error.field, "expected file:PATH, a directory" in str(error)) == ("audit.checkpoints", True)
    settings = parse({"environment": "test", "audit": {"checkpoints": "file:kept"}}, base=tmp_path)
    assert settings.audit.checkpoints == tmp_path / "kept"


def test_a_missing_secret_names_its_field_and_its_file(tmp_path: Path) -> None:
    settings = parse({"environment": "test", "model": {"name": "m", "api_key": "file:absent"}}, base=tmp_path)
    assert settings.model

    with pytest.raises(ConfigError) as error:
        settings.model.api_key.read()

    assert error.value.field == "model.api_key"
    assert str(tmp_path / "absent") in error.value.reason
    assert settings.model.api_key.missing() is not None


def test_a_secret_is_read_late_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("swordfish\n")
    monkeypatch.setenv("CHAT_URL", "swordfish")
    given = {
        "environment": "test",
        "model": {"name": "m", "api_key": "file:key"},
        "sinks": {"chat": {"url": "env:CHAT_URL"}},
    }
    settings = parse(given, base=tmp_path)

    assert [s.read() for _, s in secrets(settings)] == ["swordfish", "swordfish"]
    assert "swordfish" not in repr(settings) + settings.model_dump_json()


def test_a_directory_of_secrets_has_one_file_a_role(tmp_path: Path) -> None:
    (tmp_path / "execute").write_text("a")
    secret = Secret.parse(f"dir:{tmp_path}")

    assert secret.member("execute").read() == "a"
    assert secret.missing() is None
    with pytest.raises(ConfigError):
        secret.member("console").read()
    with pytest.raises(ConfigError):
        secret.read()


def test_one_pd_cluster_has_one_entry() -> None:
    error = refused(clusters={"a": cluster(), "b": cluster(pd=["http://pd9:2379"], alert_labels={"env": "b"})})

    assert error.field == "clusters.b.pd_cluster_id"


async def test_a_cluster_that_was_renamed_while_something_is_open_there_is_reached_by_no_call() -> None:
    writer = pd_writer(parse({"environment": "test", "clusters": {"a": cluster()}}))(
        "its-former-name", frozenset({"remove_evict_leader"})
    )
    with pytest.raises(NoFacts, match="no PD is configured"):
        await writer.cluster_id()


def test_two_clusters_share_no_pd_and_no_alert_labels() -> None:
    error = refused(clusters={"a": cluster(), "b": cluster(pd=["HTTP://PD0:2379/"], pd_cluster_id=2)})

    assert {p.field for p in error.problems} == {"clusters.b.pd", "clusters.b.alert_labels"}


@pytest.mark.parametrize("tls", ["tls_read", "tls_write"])
def test_certificates_that_plain_http_would_leave_unused_are_refused(tls: str) -> None:
    given = {tls: "dir:/run/secrets/a", "pd": ["https://pd0:2379", "HTTP://pd1:2379"]}
    (problem,) = refused(clusters={"a": cluster(**given)}).problems
    assert (problem.field, "pd1:2379 is plain HTTP" in str(problem)) == ("clusters.a.pd", True)
    parse({"environment": "test", "clusters": {"a": cluster(**given | {"pd": ["https://pd0:2379"]})}})


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"default_mode": "on"}, "policy.default_mode"),
        ({"approval": {"medium": "auto"}}, "policy.approval"),
        ({"approval": {"high": "one"}}, "policy.approval"),
        ({"version": 3}, "policy"),
        ({"notify": {"notable": "pager"}}, "policy.notify.notable"),
        ({"actions": {"evict_store_leaders": {"canary": ["nowhere"]}}}, "policy.actions.evict_store_leaders.canary"),
        ({"actions": {"evict_store_leader": {"mode": "on"}}}, "policy.actions.evict_store_leader"),
        ({"limits": {"tier": {"3": {"settling_s": 60}}}}, "policy.limits.tier.3"),
        ({"windows": {"w": {**NIGHTS, "zone": "Europe/Berlyn"}}}, "policy.windows.w.zone"),
        ({"windows": {"w": {**NIGHTS, "clusters": ["nowhere-*"]}}}, "policy.windows.w.clusters"),
        ({"windows": {"w": {**NIGHTS, "cluster_tiers": [3]}}}, "policy.windows.w.cluster_tiers"),
        ({"windows": {"w": {**NIGHTS, "actions": ["evict_store_leader"]}}}, "policy.windows.w.actions"),
        ({"windows": {"w": {**NIGHTS, "actions": ["compact_store"]}}}, "policy.windows.w.actions"),
        ({"limits": {"tier": {"dear": {}}}}, "policy.limits.tier.dear"),
        ({"limits": {"tier": {"1": {"settling_s": 1}}}}, "policy.limits.tier.1.settling_s"),
    ],
)
def test_a_policy_that_would_act_too_easily_or_nowhere_is_refused(policy: dict[str, Any], field: str) -> None:
    assert refused(policy=policy).field == field


def test_a_limit_of_a_tier_that_there_is_not_is_an_unknown_key_and_the_near_one_is_named() -> None:
    error = refused(policy={"limits": {"tier": {"1": {"settling": 60}}}})

    assert str(error) == "policy.limits.tier.1.settling: unknown key; did you mean settling_s? (found: integer)"


def test_limits_of_a_tier_that_some_cluster_has_are_read() -> None:
    given = {"environment": "e", "clusters": {"a": cluster(tier=3)}, "policy": {"limits": {"tier": {"3": {}}}}}
    settings = parse(given)

    assert settings.policy.limits.of(3) == LimitsPolicy()
    assert settings.cluster_tiers() == {"a": 3}


def test_a_zone_that_there_is_not_is_named_with_the_near_one() -> None:
    error = refused(policy={"windows": {"nights": {**NIGHTS, "zone": "Europe/Berlyn"}}})

    assert str(error) == "policy.windows.nights.zone: unknown time zone; did you mean Europe/Berlin? (found: text)"


def test_a_window_is_about_clusters_tiers_and_actions_that_there_are() -> None:
    about = {"clusters": ["prod-*", "stage"], "cluster_tiers": [3, 1], "actions": ["evict_store_leaders"]}
    clusters = {"prod-eu": cluster(tier=1), "stage": cluster(tier=3, pd=["http://b:2379"], pd_cluster_id=8)}
    clusters["stage"]["alert_labels"] = {"env": "stage"}
    given = {"environment": "e", "clusters": clusters, "policy": {"windows": {"nights": {**NIGHTS, **about}}}}

    assert set(parse(given).policy.windows_of("prod-eu", 1)) == {"nights"}


@pytest.mark.parametrize(
    "url",
    [
        "https://me:swordfish/x@clickhouse:8443/db",
        "https://clickhouse:99999/db",
        "https://me:swordfish\u2100@clickhouse/x",
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_what_stands_there(url: str) -> None:
    """It may be a password that should have been escaped."""
    error = refused(clickhouse={"url": url})
    assert error.field == "clickhouse.url"
    assert "expected a URL whose host is one, with a number from 0 to 65535 as its port" in error.reason
    assert "swordfish" not in str(error)


def test_a_url_holds_no_credentials() -> None:
    error = refused(clickhouse={"url": "https://me:swordfish@clickhouse:8443/x"})

    assert error.field == "clickhouse.url"
    assert "swordfish" not in str(error)


def test_no_file_at_all_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match="steward init"):
        load(None, {})


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    (tmp_path / "steward.toml").write_text("environment = \n")

    with pytest.raises(ConfigError, match="line 1"):
        load(tmp_path / "steward.toml", {})


def test_an_action_that_nobody_has_built_is_an_unknown_key_and_the_near_one_is_named() -> None:
    near = refused(policy={"actions": {"evict_store_leader": {"mode": "on"}}})
    far = refused(policy={"actions": {"reboot": {}}})

    assert str(near) == (
        "policy.actions.evict_store_leader: unknown action; did you mean evict_store_leaders? (found: table)"
    )
    assert "there are cancel_operator, cancel_store_offline, " in far.reason


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
@pytest.mark.parametrize("mode", ["on", "dry_run", "observe"])
def test_there_is_no_rule_for_what_is_never_done(name: str, mode: str) -> None:
    error = refused(policy={"actions": {name: {"mode": mode}}})

    assert str(error) == f"policy.actions.{name}: forbidden: {FORBIDDEN[name].why_not()} (found: table)"
