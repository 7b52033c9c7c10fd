-- purpose: How long each person takes to decide, by tier: how often in under 5 s, and how often what they approved failed.
-- param cluster String = : one cluster; empty: all
-- param since DateTime64(3, 'UTC') = 1970-01-02: words given from then on
-- rows: any
-- columns: person, tier, decisions, denied, p50_s, p90_s, under_5_s, share_under_5_s, executed, failed
-- note: The time runs from the moment the plan was asked about (the last ask before the word), by the broker's clock.
-- note: `failed` of `executed`: concluded as no_better, worse, failed_* or unknown. Not begun and rehearsed don't count.
-- example: steward audit query time-to-decide --param since=2027-01-01
WITH
words AS (
    SELECT approval_id AS word, any(remediation_id) AS remediation, any(actor) AS person, any(kind) AS verb, min(appended_at) AS said_at
    FROM events_read
    WHERE topic = 'approvals' AND kind IN ('Approved', 'Denied') AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY word
    HAVING said_at >= {since:DateTime64(3, 'UTC')}
),
asks AS (
    SELECT remediation_id AS remediation, appended_at AS asked_at, tier AS asked_tier
    FROM events_read
    WHERE topic = 'remediations' AND kind = 'ApprovalAsked' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
),
ended AS (
    SELECT remediation_id AS remediation, any(outcome) AS ended_as
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'Concluded' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY remediation
),
decided AS (
    SELECT
        words.word AS id,
        any(words.remediation) AS remediation,
        any(words.person) AS who,
        any(words.verb) AS verb,
        argMax(asks.asked_tier, asks.asked_at) AS of_tier,
        dateDiff('millisecond', max(asks.asked_at), any(words.said_at)) / 1000 AS took_s
    FROM words
    INNER JOIN asks ON asks.remediation = words.remediation
    WHERE asks.asked_at <= words.said_at
    GROUP BY id
)
SELECT
    who AS person,
    of_tier AS tier,
    count() AS decisions,
    countIf(verb = 'Denied') AS denied,
    quantileExact(0.5)(took_s) AS p50_s,
    quantileExact(0.9)(took_s) AS p90_s,
    countIf(took_s < 5) AS under_5_s,
    round(under_5_s / decisions, 4) AS share_under_5_s,
    countIf(verb = 'Approved' AND ended_as NOT IN ('', 'not_started', 'rehearsed')) AS executed,
    countIf(verb = 'Approved' AND ended_as NOT IN ('', 'not_started', 'rehearsed', 'succeeded')) AS failed
FROM decided
LEFT JOIN ended USING (remediation)
GROUP BY person, tier
ORDER BY person, tier
