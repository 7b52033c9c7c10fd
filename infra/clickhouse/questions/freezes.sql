-- purpose: Every freeze and halt, how long it held, and what still happened after it: steps, and how long until the last effect.
-- param cluster String = : one cluster and those for all; empty: every one
-- rows: any
-- columns: stopped_at, cluster, what, by, reason, lifted_at, lifted_by, forward_steps_after, undo_steps_after
-- columns: last_effect_after_s
-- note: `forward_steps_after` and `undo_steps_after` count steps that were intended after it and before it was lifted.
-- note: `last_effect_after_s`: until the last call had its answer, also of one intended before; without an answer, until its
-- note: window was over. Forward calls alone under a freeze, which never stops an undo; all under a halt.
-- example: steward audit query freezes --param cluster=prod-eu-7
WITH
stops AS (
    SELECT
        cluster_id AS cluster,
        kind AS what,
        if(kind = 'Halted', 'halt', 'freeze') AS lifted_as,
        appended_at AS stopped_at,
        offset AS at_offset,
        actor AS by_whom,
        text AS why
    FROM events_read
    WHERE topic = 'controls' AND kind IN ('Frozen', 'Halted')
        AND ({cluster:String} = '' OR cluster_id IN ({cluster:String}, '*'))
),
lifts AS (
    SELECT groupArray((cluster_id, offset, appended_at, actor, JSONExtractString(payload, 'kind'))) AS lifted
    FROM events_read
    WHERE topic = 'controls' AND kind = 'Lifted'
),
calls AS (
    SELECT
        cluster_id AS of_cluster,
        anyIf(direction, kind = 'StepIntended') AS way,
        anyIf(appended_at, kind = 'StepIntended') AS intended_at,
        anyIf(addMilliseconds(appended_at, toInt64(1000 * JSONExtractFloat(payload, 'window_s'))), kind = 'StepIntended') AS window_over_at,
        anyIf(appended_at, kind = 'StepTaken') AS answered_at,
        anyIf(outcome, kind = 'StepTaken') AS answer,
        argMaxIf(outcome, offset, kind = 'StepProbed') AS finding
    FROM events_read
    WHERE
        topic = 'outcomes' AND kind IN ('StepIntended', 'StepTaken', 'StepProbed')
        AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    GROUP BY of_cluster, remediation_id, step
),
steps AS (
    SELECT
        groupArray((
            of_cluster,
            way,
            intended_at,
            if(toUnixTimestamp64Milli(answered_at) > 0, answered_at, window_over_at),
            answer NOT IN ('refused', 'never_sent', 'rehearsed') AND finding != 'not_started'
        )) AS every
    FROM calls
),
lifted AS (
    SELECT
        stops.*,
        arraySort(
            l -> l.2,
            arrayFilter(l -> l.1 = stops.cluster AND l.2 > stops.at_offset AND l.5 IN ('', stops.lifted_as), lifts.lifted)
        )[1] AS lift,
        arrayFilter(
            s -> (stops.cluster = '*' OR s.1 = stops.cluster) AND (lift.2 = 0 OR s.3 < lift.3) AND s.4 > stops.stopped_at, steps.every
        ) AS during,
        arrayFilter(s -> s.3 > stops.stopped_at, during) AS after,
        arrayFilter(s -> s.5 AND (s.2 = 'do' OR stops.what = 'Halted'), during) AS effects
    FROM stops
    CROSS JOIN lifts
    CROSS JOIN steps
)
SELECT
    stopped_at,
    cluster,
    what,
    by_whom AS by,
    why AS reason,
    if(lift.2 = 0, NULL, lift.3) AS lifted_at,
    if(lift.2 = 0, '', lift.4) AS lifted_by,
    countEqual(after.2, 'do') AS forward_steps_after,
    countEqual(after.2, 'undo') AS undo_steps_after,
    if(empty(effects), NULL, dateDiff('millisecond', stopped_at, arrayMax(effects.4)) / 1000) AS last_effect_after_s
FROM lifted
ORDER BY at_offset
