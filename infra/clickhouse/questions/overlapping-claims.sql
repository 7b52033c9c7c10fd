-- purpose: Claims made on a cluster while another one was open there. There must be none.
-- param cluster String = : one cluster; empty: all
-- rows: none
-- columns: cluster, remediation, claimed_at, still_open, place
-- note: A cluster is known by the id that PD gives it: one that was renamed in the configuration is still the same.
-- example: steward audit query overlapping-claims
WITH
claims AS (
    SELECT
        JSONExtractUInt(payload, 'plan', 'pd_cluster_id') AS pd,
        cluster_id AS cluster,
        remediation_id AS remediation,
        occurred_at AS claimed,
        partition AS on_partition,
        offset AS at_offset,
        (appended_at, offset) AS began
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'Claimed'
),
ends AS (
    SELECT cluster_id AS cluster, remediation_id AS remediation, min((appended_at, offset)) AS ended, count() AS concluded
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'Concluded'
    GROUP BY cluster, remediation
),
held AS (
    SELECT
        claims.*,
        if(concluded = 0, (toDateTime64('2199-12-31 00:00:00', 3, 'UTC'), toInt64(0)), ended) AS until
    FROM claims
    LEFT JOIN ends USING (cluster, remediation)
),
following AS (
    SELECT
        *,
        max(until) OVER before AS others_until,
        argMax(remediation, until) OVER before AS other
    FROM held
    WINDOW before AS (PARTITION BY pd ORDER BY began, on_partition ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT
    cluster,
    remediation,
    claimed AS claimed_at,
    other AS still_open,
    concat('outcomes/', toString(on_partition), '@', toString(at_offset)) AS place
FROM following
WHERE others_until > began AND ({cluster:String} = '' OR cluster = {cluster:String})
ORDER BY claimed_at, at_offset
