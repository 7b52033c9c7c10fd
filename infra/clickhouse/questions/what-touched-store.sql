-- purpose: Every call that was meant for a store, or removed it: when, in whose name, and what came of it.
-- param cluster String: the cluster
-- param store UInt64: the store, as PD numbers it
-- rows: any
-- columns: intended_at, remediation, incident, action, mode, attempt, step, direction, call, approvers, answer, finding
-- example: steward audit query what-touched-store --param cluster=prod-eu-7 --param store=4
WITH steps AS (
    SELECT
        remediation_id AS remediation,
        step AS number,
        anyIf(occurred_at, kind = 'StepIntended') AS intended_at,
        anyIf(direction, kind = 'StepIntended') AS way,
        anyIf(call, kind = 'StepIntended') AS called,
        anyIf(target, kind = 'StepIntended') AS targets,
        maxIf(attempt, kind = 'StepIntended') AS tried,
        argMaxIf(outcome, offset, kind = 'StepTaken') AS answer,
        argMaxIf(outcome, offset, kind = 'StepProbed') AS finding
    FROM events_read
    WHERE cluster_id = {cluster:String} AND topic = 'outcomes' AND kind IN ('StepIntended', 'StepTaken', 'StepProbed')
    GROUP BY remediation, number
    HAVING has(targets, concat('store:', toString({store:UInt64})))
),
claims AS (
    SELECT
        remediation_id AS remediation,
        any(incident_id) AS incident,
        any(action_type) AS action,
        any(mode) AS claimed_mode,
        any(approvers) AS people
    FROM events_read
    WHERE cluster_id = {cluster:String} AND topic = 'outcomes' AND kind = 'Claimed'
    GROUP BY remediation
)
SELECT
    intended_at,
    remediation,
    incident,
    action,
    claimed_mode AS mode,
    tried AS attempt,
    number AS step,
    way AS direction,
    called AS call,
    people AS approvers,
    answer,
    finding
FROM steps
LEFT JOIN claims USING (remediation)
ORDER BY intended_at, number
