-- purpose: Which policy was in force when, who adopted it and why, and how many executions it allowed.
-- rows: any
-- columns: version, adopted_at, until, adopted_by, reason, executions, policy
-- example: steward audit query policy-history
WITH used AS (
    SELECT policy_version AS version, uniqExact(remediation_id) AS executions
    FROM events_read
    WHERE topic = 'remediations' AND kind = 'ExecutionAuthorized'
    GROUP BY version
)
SELECT
    policy_version AS version,
    occurred_at AS adopted_at,
    leadInFrame(toNullable(occurred_at)) OVER (ORDER BY offset ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until,
    actor AS adopted_by,
    text AS reason,
    executions,
    JSONExtractString(payload, 'policy_json') AS policy
FROM events_read
LEFT JOIN used ON used.version = events_read.policy_version
WHERE topic = 'controls' AND kind = 'PolicyAdopted'
ORDER BY offset
