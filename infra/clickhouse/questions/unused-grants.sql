-- purpose: Calls that the catalogue and the policy in force allow, and that nobody has used for so many days: rights to give back.
-- param days UInt64 = 90: allowed for longer, and not used within so many days
-- param granted Array(String) = @catalogue: what the catalogue allows, as action/call,action/call; by default this build's
-- param at DateTime64(3, 'UTC') = @now: the days are counted back from then, by the policy in force then
-- rows: any
-- columns: action, call, granted_since, policy_version, adopted_by, canary, uses, last_used_at
-- note: Allowed: the policy in force says `on` for the action. Used: a step intended under a claim of mode `on`, its undo included.
-- note: A policy is in force from its adoption on if no version as high was adopted before it.
-- note: `granted_since`: from then on every policy has said `on`. `canary`: the clusters that it is limited to; empty: all.
-- example: steward audit query unused-grants --param days=90
WITH
allowed AS (
    SELECT arrayJoin({granted:Array(String)}) AS pair, splitByChar('/', pair)[1] AS of_action, splitByChar('/', pair)[2] AS of_call
),
history AS (
    SELECT
        arraySort(p -> p.1, groupArray((at_offset, adopted_at, version, adopter, policy))) AS policies
    FROM (
        SELECT
            offset AS at_offset,
            occurred_at AS adopted_at,
            policy_version AS version,
            actor AS adopter,
            JSONExtractString(payload, 'policy_json') AS policy,
            max(policy_version) OVER (ORDER BY offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest_before
        FROM events_read
        WHERE topic = 'controls' AND kind = 'PolicyAdopted' AND occurred_at <= {at:DateTime64(3, 'UTC')}
    )
    WHERE version > latest_before
),
grants AS (
    SELECT
        of_action,
        of_call,
        policies[-1] AS newest,
        arrayLastIndex(p -> JSONExtractString(p.5, 'actions', of_action, 'mode') != 'on', policies) AS last_without,
        policies[last_without + 1].2 AS since
    FROM allowed
    CROSS JOIN history
    WHERE last_without < length(policies)
),
claims AS (
    SELECT remediation_id AS remediation, any(action_type) AS action, any(mode) AS claimed_mode
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'Claimed'
    GROUP BY remediation
),
used AS (
    SELECT claims.action AS of_action, steps.call AS of_call, count() AS times, max(steps.occurred_at) AS latest
    FROM (
        SELECT remediation_id AS remediation, call, occurred_at
        FROM events_read
        WHERE topic = 'outcomes' AND kind = 'StepIntended' AND occurred_at <= {at:DateTime64(3, 'UTC')}
    ) AS steps
    INNER JOIN claims ON claims.remediation = steps.remediation
    WHERE claims.claimed_mode = 'on'
    GROUP BY of_action, of_call
)
SELECT
    of_action AS action,
    of_call AS call,
    since AS granted_since,
    newest.3 AS policy_version,
    newest.4 AS adopted_by,
    JSONExtract(newest.5, 'actions', of_action, 'canary', 'Array(String)') AS canary,
    times AS uses,
    if(times = 0, NULL, latest) AS last_used_at
FROM grants
LEFT JOIN used USING (of_action, of_call)
WHERE
    since <= subtractDays({at:DateTime64(3, 'UTC')}, {days:UInt64})
    AND latest <= subtractDays({at:DateTime64(3, 'UTC')}, {days:UInt64})
ORDER BY action, call
