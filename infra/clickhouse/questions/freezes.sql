-- purpose: Every freeze and halt, how long it held, and what still happened after it: forward steps, and the last of them.
-- param cluster String = : one cluster and those for all; empty: every one
-- rows: any
-- example: steward audit query freezes --param cluster=prod-eu-7
WITH
stops AS (
    SELECT cluster_id AS cluster, kind AS what, if(kind = 'Halted', 'halt', 'freeze') AS lifted_as, appended_at AS stopped_at, offset AS at_offset, actor AS by_whom, text AS why
    FROM events_read
    WHERE topic = 'controls' AND kind IN ('Frozen', 'Halted')
        AND ({cluster:String} = '' OR cluster_id IN ({cluster:String}, '*'))
),
lifts AS (
    SELECT groupArray((cluster_id, offset, appended_at, actor, JSONExtractString(payload, 'kind'))) AS lifted
    FROM events_read
    WHERE topic = 'controls' AND kind = 'Lifted'
),
steps AS (
    SELECT groupArray((cluster_id, appended_at)) AS forward
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'StepIntended' AND direction = 'do'
),
joined AS (
    SELECT
        stops.*,
        arraySort(
            l -> l.2,
            arrayFilter(
                l -> l.1 = stops.cluster AND l.2 > stops.at_offset AND l.5 IN ('', stops.lifted_as),
                lifts.lifted
            )
        )[1] AS lift,
        arrayMap(
            s -> s.2,
            arrayFilter(
                s -> (stops.cluster = '*' OR s.1 = stops.cluster) AND s.2 > stops.stopped_at
                    AND (lift.2 = 0 OR s.2 < lift.3),
                steps.forward
            )
        ) AS after
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
    length(after) AS forward_steps_after,
    if(empty(after), NULL, dateDiff('millisecond', stopped_at, arrayMax(after)) / 1000) AS last_effect_after_s
FROM joined
ORDER BY at_offset
