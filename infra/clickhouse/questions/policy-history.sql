-- purpose: Which policy was in force when, who adopted it and why, and how many executions it allowed.
-- rows: any
-- columns: version, adopted_at, until, adopted_by, reason, executions, policy
-- note: A version is in force as it was adopted first: what comes with that version again, or with an older one, never is.
-- example: steward audit query policy-history
WITH used AS (
    SELECT policy_version AS version, uniqExact(remediation_id) AS executions
    FROM events_read
    WHERE topic = 'remediations' AND kind = 'ExecutionAuthorized'
    GROUP BY version
),
adopted AS (
    SELECT
        offset AS at_offset,
        policy_version AS version,
        occurred_at AS adopted_at,
        actor AS adopted_by,
        text AS reason,
        JSONExtractString(payload, 'policy_json') AS policy,
        max(policy_version) OVER (ORDER BY offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest_before
    FROM events_read
    WHERE topic = 'controls' AND kind = 'PolicyAdopted'
)
SELECT
    adopted.version AS version,
    adopted_at,
    leadInFrame(toNullable(adopted_at)) OVER (ORDER BY at_offset ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until,
    adopted_by,
    reason,
    executions,
    policy
FROM adopted
LEFT JOIN used ON used.version = adopted.version
WHERE adopted.version > latest_before
ORDER BY at_offset
