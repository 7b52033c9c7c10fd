-- purpose: Every word that people gave on a remediation, on which plan, and whether it counted.
-- param remediation String: the remediation
-- rows: any
-- example: steward audit query who-approved --param remediation=R-1093
WITH
words AS (
    SELECT
        approval_id,
        occurred_at AS said_at,
        kind AS word,
        actor AS person,
        via AS through,
        digest AS plan,
        valid_until AS expires_at,
        text AS reason
    FROM events_read
    WHERE remediation_id = {remediation:String} AND topic = 'approvals' AND approval_id != ''
),
answers AS (
    SELECT
        approval_id,
        argMax(if(kind = 'ApprovalRejected', concat('rejected: ', reason_code), 'counted'), occurred_at) AS answer
    FROM events_read
    WHERE
        remediation_id = {remediation:String} AND topic = 'remediations'
        AND kind IN ('ApprovalCounted', 'ApprovalRejected') AND approval_id != ''
    GROUP BY approval_id
),
asked AS (
    SELECT
        digest AS plan,
        max(occurred_at) AS asked_at,
        any(tier) AS asked_tier,
        any(rule) AS asked_rule,
        any(action_type) AS action,
        any(JSONExtractRaw(payload, 'plan', 'changes')) AS changes
    FROM events_read
    WHERE remediation_id = {remediation:String} AND topic = 'remediations' AND kind = 'ApprovalAsked'
    GROUP BY plan
)
SELECT
    said_at,
    person,
    word,
    through AS via,
    if(answer = '', 'not answered', answer) AS counted,
    reason,
    expires_at,
    plan AS digest,
    asked_at,
    asked_tier AS tier,
    asked_rule AS rule,
    action,
    changes
FROM words
LEFT JOIN answers USING (approval_id)
LEFT JOIN asked USING (plan)
ORDER BY said_at
