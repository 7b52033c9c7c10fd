-- purpose: Changes that may be in force, are temporary or were handed to a person, and are not shown to be gone: what we owe, since when, and who has it.
-- param cluster String = : one cluster; empty: all
-- param at DateTime64(3, 'UTC') = @now: whether it is late is judged by then
-- rows: any
-- columns: cluster, remediation, change, call, undo_call, since, due_at, late, state
-- note: What was meant to stay is owed where an execution ended as UNKNOWN and handed it to a person: due from then on.
-- example: steward audit query owed-undos --param cluster=prod-eu-7
WITH
last_steps AS (
    SELECT
        cluster_id AS cluster,
        remediation_id AS remediation,
        step AS number,
        anyIf(direction, kind = 'StepIntended') AS way,
        anyIf(change, kind = 'StepIntended') AS changed,
        anyIf(call, kind = 'StepIntended') AS called,
        anyIf(undo_call, kind = 'StepIntended') AS undo,
        anyIf(keep_s, kind = 'StepIntended') AS kept_s,
        anyIf(occurred_at, kind = 'StepIntended') AS intended_at,
        anyIf(outcome, kind = 'StepTaken') AS answer,
        argMaxIf(outcome, offset, kind = 'StepProbed') AS finding
    FROM events_read
    WHERE
        topic = 'outcomes' AND kind IN ('StepIntended', 'StepTaken', 'StepProbed')
        AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY cluster, remediation, number
),
made AS (
    SELECT
        cluster,
        remediation,
        changed,
        any(called) AS call,
        any(undo) AS undo_call,
        max(intended_at) AS since,
        max(kept_s) AS for_s,
        max(addSeconds(intended_at, kept_s)) AS kept_until
    FROM last_steps
    WHERE
        way = 'do' AND undo != ''
        AND answer NOT IN ('refused', 'never_sent', 'rehearsed') AND finding != 'not_started'
    GROUP BY cluster, remediation, changed
),
gone AS (
    SELECT cluster_id AS cluster, remediation_id AS remediation, change AS changed, max(occurred_at) AS gone_at
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'ChangeUndone' AND settled
    GROUP BY cluster, remediation, changed
),
ended AS (
    SELECT
        cluster_id AS cluster,
        remediation_id AS remediation,
        maxIf(occurred_at, kind = 'Concluded') AS concluded_at,
        maxIf(owed, kind = 'Concluded') AS handed_over,
        countIf(kind = 'QuarantineLifted') AS resolved
    FROM events_read
    WHERE topic = 'outcomes' AND kind IN ('Concluded', 'QuarantineLifted')
    GROUP BY cluster, remediation
)
SELECT
    cluster,
    remediation,
    changed AS change,
    call,
    undo_call,
    since,
    if(for_s > 0, kept_until, concluded_at) AS due_at,
    due_at < {at:DateTime64(3, 'UTC')} AS late,
    multiIf(handed_over > 0, 'handed to a person', toUnixTimestamp64Milli(concluded_at) > 0, 'concluded without it', 'under way')
        AS state
FROM made
LEFT JOIN gone USING (cluster, remediation, changed)
LEFT JOIN ended USING (cluster, remediation)
WHERE toUnixTimestamp64Milli(gone_at) = 0 AND resolved = 0 AND (for_s > 0 OR handed_over > 0)
ORDER BY due_at
