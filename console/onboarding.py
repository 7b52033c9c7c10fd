"""The texts that bring Steward to somebody: a first configuration, and what Alertmanager needs. Pure."""

from __future__ import annotations

from infra.settings import Cluster, Settings

GATEWAY_PATH = "/api/v1/alerts"
TOP_RECEIVER = "YOUR-TOP-RECEIVER"  # Alertmanager refuses a receiver that is not there: it can't be forgotten

CONFIGURATION = """\
# TiKV Steward, observe-only: it reads alerts and clusters, writes tickets, and changes nothing.
# Check it with `steward doctor`. Each key can also come as STEWARD_SECTION__KEY.
# Secrets stand here by name only: file:PATH, dir:PATH or env:NAME. Paths are relative to this file.
environment = "{environment}"

[kafka]
bootstrap = "127.0.0.1:9092"
topic_prefix = "sre.steward."
partitions = 16                              # more of them later is a migration
# credentials = "dir:secrets/kafka"          # one file a role, in librdkafka's properties format

# [clickhouse]                               # absent: no audit store
# url = "https://clickhouse:8443/steward"    # or chdb:PATH, the engine inside the process
# credentials = "dir:secrets/clickhouse"     # one file a role, user:password
# [audit]
# checkpoints = "file:checkpoints"           # how far each chain is, in a second place: `steward audit verify`

# [model]                                    # absent: the playbook diagnoses
# name = "claude-opus-5-5"
# api_key = "file:secrets/claude"
# deadline_s = 60

# One section a cluster. `curl PD/pd/api/v1/cluster` shows the id, which is pinned: another cluster is refused.
# [clusters.prod-eu-7]
# alert_labels = {{ env = "prod-eu-7" }}     # an alert with all of these labels is this cluster's
# pd = ["https://pd0:2379", "https://pd1:2379"]
# pd_cluster_id = 7168243901123456
# tls_read = "dir:secrets/prod-eu-7-read"    # ca.pem, cert.pem, key.pem
# tier = 1                                   # 1 is the dearest

# [sinks.chat]
# url = "file:secrets/chat-url"              # any apprise URL

[gateway]
listen = "127.0.0.1:9095"                    # where Alertmanager posts: `steward connect CLUSTER`
token = "file:secrets/gateway-token"

[console]
listen = "127.0.0.1:9096"
users = {{ "{user}" = "file:secrets/token-{user}" }}
signing_key = "file:secrets/console-key.json"

[policy]                                     # a draft, until `steward policy apply`
default_mode = "observe"                     # observe | dry_run | on (per action only)
# [policy.actions.evict_store_leaders]
# mode = "dry_run"
# canary = ["prod-eu-7"]
# [policy.approval]                          # auto | veto:10m | one | two | never
# low = "auto"
# medium = "one"
# high = "two"
# [policy.windows.nights]                    # nothing above LOW starts while people sleep
# kind = "quiet"                             # or maintenance: what it names starts in it alone
# zone = "Europe/Berlin"
# days = ["mon", "tue", "wed", "thu", "fri"] # on which it begins; absent: every day
# start = "22:00"
# end = "07:00"
# risk_min = "MEDIUM"                        # also: clusters = ["prod-*"], cluster_tiers = [1], actions = [...]
# [policy.limits.tier.1]                     # single keys of [policy.limits], for clusters of this tier
# leaders_share_max = 0.2
[policy.notify]                              # how loudly -> a sink's name, `log` or `all`
routine = "log"
notable = "log"
critical = "all"
"""


def configuration(environment: str, user: str) -> str:
    return CONFIGURATION.format(environment=environment, user=user)


def receiver(name: str, cluster: Cluster, settings: Settings) -> str:
    """What to paste into alertmanager.yml, so that whoever is told now is told as before.

    Alertmanager sends an alert to the top route's receiver only where no route below it matches: an alert that ours
    matches would be lost to it. So the receiver is named once more, by a last route that matches everything.
    """
    matchers = ", ".join(_quoted(f"{label}={_double(value)}") for label, value in sorted(cluster.alert_labels.items()))
    lines = [
        f"# {name}: two routes around your own ones, and a receiver. Whoever is told now is told as before.",
        "route:",
        "  routes:",
        "    - receiver: tikv-steward                   # the first route",
        f"      matchers: [{matchers}]",
        "      continue: true",
        "      group_by: [alertname]",
        "      group_wait: 5s",
        "      group_interval: 30s",
        "      repeat_interval: 1h",
        "    # ... your own routes ...",
        f"    - receiver: {TOP_RECEIVER}   # the last route: write the receiver that `route:` itself names",
        "receivers:",
        "  - name: tikv-steward",
        "    webhook_configs:",
        f"      - url: http://{settings.gateway.listen}{GATEWAY_PATH}",
        "        send_resolved: true",
        "        max_alerts: 0",
    ]
    if settings.gateway.token is not None:
        lines += [
            "        http_config:",
            "          authorization:",
            "            type: Bearer",
            "            credentials_file: /etc/alertmanager/steward-token   # holds what [gateway] token names",
        ]
    return "\n".join(lines)


def _double(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _quoted(text: str) -> str:
    """A YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"
