-- purpose: Temporary changes that outlived their time: taken back late, or not shown to be gone yet, and by how much.
-- param cluster String = : one cluster; empty: all
-- param over_s UInt64 = 60: how many seconds after its time a change is late; a look takes some
-- param at DateTime64(3, 'UTC') = @now: what is owed is as late as it is then
-- rows: any
-- columns: cluster, remediation, change, call, undo_call, due_at, gone_at, late_s, state
-- note: `gone_at` is when it was last seen to be gone; empty: it was not, see `owed-undos`.
-- note: Before their time come those of a cancelled or aborted execution: these are never late.
-- example: steward audit query late-undos --param cluster=prod-eu-7
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
        max(addSeconds(intended_at, kept_s)) AS due
    FROM last_steps
    WHERE
        way = 'do' AND undo != '' AND kept_s > 0
        AND answer NOT IN ('refused', 'never_sent', 'rehearsed') AND finding != 'not_started'
    GROUP BY cluster, remediation, changed
),
gone AS (
    SELECT
        cluster_id AS cluster,
        remediation_id AS remediation,
        change AS changed,
        if(countIf(NOT settled) > 0, maxIf(occurred_at, NOT settled), max(occurred_at)) AS seen_gone
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'ChangeUndone' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY cluster, remediation, changed
),
resolved AS (
    SELECT cluster_id AS cluster, remediation_id AS remediation, min(occurred_at) AS resolved_at
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'QuarantineLifted' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY cluster, remediation
)
SELECT
    cluster,
    remediation,
    changed AS change,
    call,
    undo_call,
    due AS due_at,
    if(toUnixTimestamp64Milli(seen_gone) = 0, NULL, seen_gone) AS gone_at,
    dateDiff(
        'millisecond',
        due,
        multiIf(
            toUnixTimestamp64Milli(seen_gone) > 0, seen_gone,
            toUnixTimestamp64Milli(resolved_at) > 0, resolved_at,
            {at:DateTime64(3, 'UTC')}
        )
    ) / 1000 AS late_s,
    multiIf(
        toUnixTimestamp64Milli(seen_gone) > 0, 'undone late',
        toUnixTimestamp64Milli(resolved_at) > 0, 'resolved by a person',
        'owed'
    ) AS state
FROM made
LEFT JOIN gone USING (cluster, remediation, changed)
LEFT JOIN resolved USING (cluster, remediation)
WHERE late_s > {over_s:UInt64}
ORDER BY due_at, remediation, change
