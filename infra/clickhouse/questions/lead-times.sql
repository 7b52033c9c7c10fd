-- purpose: How long each stretch from alert to verified repair took, as percentiles in seconds.
-- param cluster String = : one cluster; empty: all
-- param since DateTime64(3, 'UTC') = 1970-01-02 00:00:00: incidents opened from then on
-- rows: any
-- columns: stretch, n, p50_s, p90_s, p99_s, max_s
-- note: An incident counts once in the first two stretches, and once for each of its remediations in the others.
-- example: steward audit query lead-times --param since='2027-01-01 00:00:00'
WITH
opened AS (
    SELECT incident_id AS incident, min(occurred_at) AS opened_at, any(cause_partition) AS p, any(cause_offset) AS o
    FROM events_read
    WHERE topic = 'incidents' AND kind = 'IncidentOpened' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY incident
    HAVING opened_at >= {since:DateTime64(3, 'UTC')}
),
signalled AS (
    SELECT toInt64(partition) AS p, offset AS o, appended_at AS alerted_at
    FROM events_read
    WHERE topic = 'signals'
),
diagnosed AS (
    SELECT incident_id AS incident, min(occurred_at) AS diagnosed_at
    FROM events_read
    WHERE topic = 'incidents' AND kind = 'DiagnosisAdopted'
    GROUP BY incident
),
steps AS (
    SELECT
        remediation_id AS remediation,
        minIf(occurred_at, kind = 'RemediationOpened') AS proposed_at,
        minIf(occurred_at, kind = 'ApprovalAsked') AS asked_at,
        minIf(occurred_at, kind = 'ExecutionAuthorized') AS authorised_at,
        minIf(occurred_at, kind = 'Claimed') AS claimed_at,
        minIf(occurred_at, kind = 'StepTaken' AND outcome = 'accepted') AS effect_at,
        minIf(occurred_at, kind = 'Concluded' AND outcome = 'succeeded') AS verified_at,
        anyIf(incident_id, incident_id != '') AS incident
    FROM events_read
    WHERE topic IN ('remediations', 'outcomes') AND remediation_id != ''
    GROUP BY remediation
),
stretches AS (
    SELECT DISTINCT
        incident,
        if(between.1 <= 2, '', remediation) AS of_remediation,
        arrayJoin([
            (1, 'alert -> incident', alerted_at, opened_at),
            (2, 'incident -> diagnosis', opened_at, diagnosed_at),
            (3, 'diagnosis -> proposal', diagnosed_at, proposed_at),
            (4, 'proposal -> asked', proposed_at, asked_at),
            (5, 'asked -> authorised', asked_at, authorised_at),
            (6, 'authorised -> claim', authorised_at, claimed_at),
            (7, 'claim -> effect', claimed_at, effect_at),
            (8, 'effect -> verified', effect_at, verified_at),
            (9, 'alert -> verified', alerted_at, verified_at)
        ]) AS between
    FROM opened
    LEFT JOIN signalled USING (p, o)
    LEFT JOIN diagnosed USING (incident)
    LEFT JOIN steps USING (incident)
)
SELECT
    between.2 AS stretch,
    count() AS n,
    quantileExact(0.5)(took_s) AS p50_s,
    quantileExact(0.9)(took_s) AS p90_s,
    quantileExact(0.99)(took_s) AS p99_s,
    max(took_s) AS max_s
FROM (
    SELECT between, dateDiff('millisecond', between.3, between.4) / 1000 AS took_s
    FROM stretches
    WHERE toUnixTimestamp64Milli(between.3) > 0 AND toUnixTimestamp64Milli(between.4) > 0
)
GROUP BY between.1, between.2
ORDER BY between.1
