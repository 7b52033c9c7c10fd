-- purpose: Which policy allowed each execution, who had adopted it and why, and which of its rules were applied.
-- param cluster String = : one cluster; empty: all
-- param remediation String = : one remediation; empty: all
-- rows: any
-- columns: authorised_at, cluster, remediation, incident, action, mode, tier, approval_rule, needed, approvers
-- columns: policy_version, adopted_by, adopted_at, adopted_because, action_rule, rules, in_force
-- note: `action_rule` is what that policy says of the action, `approval_rule` who had to agree, `rules` all that the plan names.
-- note: `in_force`: the latest version on record when it was authorised. It differs where a newer one was adopted since the plan.
-- example: steward audit query which-policy --param remediation=R-1093
WITH
adopted AS (
    SELECT
        policy_version AS version,
        min(occurred_at) AS adopted,
        argMin(actor, offset) AS adopter,
        argMin(text, offset) AS reason,
        argMin(JSONExtractString(payload, 'policy_json'), offset) AS policy
    FROM events_read
    WHERE topic = 'controls' AND kind = 'PolicyAdopted'
    GROUP BY version
),
versions AS (
    SELECT groupArray((offset, policy_version)) AS every
    FROM events_read
    WHERE topic = 'controls' AND kind = 'PolicyAdopted'
),
orders AS (
    SELECT
        occurred_at,
        controls_offset,
        cluster_id,
        remediation_id,
        incident_id,
        action_type,
        mode,
        tier,
        rule,
        needed,
        approvers,
        policy_version AS version,
        JSONExtract(payload, 'plan', 'policy_rules', 'Array(String)') AS applied
    FROM events_read
    WHERE
        topic = 'remediations' AND kind = 'ExecutionAuthorized'
        AND ({cluster:String} = '' OR cluster_id = {cluster:String})
        AND ({remediation:String} = '' OR remediation_id = {remediation:String})
)
SELECT
    occurred_at AS authorised_at,
    cluster_id AS cluster,
    remediation_id AS remediation,
    incident_id AS incident,
    action_type AS action,
    mode,
    tier,
    rule AS approval_rule,
    needed,
    approvers,
    version AS policy_version,
    adopter AS adopted_by,
    if(adopter = '', NULL, adopted) AS adopted_at,
    reason AS adopted_because,
    JSONExtractRaw(policy, 'actions', action_type) AS action_rule,
    applied AS rules,
    arrayMax(arrayMap(v -> v.2, arrayFilter(v -> v.1 <= controls_offset, every))) AS in_force
FROM orders
CROSS JOIN versions
LEFT JOIN adopted USING (version)
ORDER BY occurred_at, remediation
