-- purpose: Every word that people gave on a remediation, what they were shown when they gave it, and whether it counted.
-- param remediation String: the remediation
-- rows: any
-- columns: said_at, person, word, via, counted, reason, expires_at, digest, asked_at, tier, tier_reasons, rule, needed
-- columns: mode, action, params, changes, bounds, reach, premises, facts_age_s, why, cause, confidence, evidence
-- note: From `asked_at` on it is the card: the last ask before the word; of an approval, the last one about the plan that it names.
-- note: `facts_age_s`: how old the facts on the card were when the word was given. JSON columns are as recorded.
-- note: What needs nobody (LOW) has no row here: `which-policy` says whose policy it was.
-- example: steward audit query who-approved --param remediation=R-1093
WITH
words AS (
    SELECT
        approval_id AS word_id,
        occurred_at AS said_at,
        appended_at AS heard_at,
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
        approval_id AS word_id,
        argMax(if(kind = 'ApprovalRejected', concat('rejected: ', reason_code), 'counted'), offset) AS answer
    FROM events_read
    WHERE
        remediation_id = {remediation:String} AND topic = 'remediations'
        AND kind IN ('ApprovalCounted', 'ApprovalRejected') AND approval_id != ''
    GROUP BY word_id
),
asks AS (
    SELECT digest AS asked_plan, appended_at AS shown_at, occurred_at AS asked_on, payload AS shown
    FROM events_read
    WHERE remediation_id = {remediation:String} AND topic = 'remediations' AND kind = 'ApprovalAsked'
),
cards AS (
    SELECT word_id, max(asked_on) AS carded_at, argMax(shown, shown_at) AS card
    FROM words
    CROSS JOIN asks
    WHERE shown_at <= heard_at AND (plan = '' OR plan = asked_plan)
    GROUP BY word_id
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
    if(card = '', NULL, carded_at) AS asked_at,
    JSONExtractString(card, 'tier') AS tier,
    JSONExtract(card, 'tier_reasons', 'Array(String)') AS tier_reasons,
    JSONExtractString(card, 'rule') AS rule,
    JSONExtractInt(card, 'needed') AS needed,
    JSONExtractString(card, 'mode') AS mode,
    JSONExtractString(card, 'action') AS action,
    JSONExtractString(card, 'params') AS params,
    JSONExtractRaw(card, 'plan', 'changes') AS changes,
    JSONExtractRaw(card, 'plan', 'bounds') AS bounds,
    JSONExtractRaw(card, 'reach') AS reach,
    JSONExtractRaw(card, 'plan', 'premises') AS premises,
    if(
        card = '', NULL,
        dateDiff('millisecond', fromUnixTimestamp64Milli(JSONExtractInt(card, 'facts_taken_at_ms'), 'UTC'), heard_at) / 1000
    ) AS facts_age_s,
    JSONExtractString(card, 'why') AS why,
    JSONExtractString(card, 'cause') AS cause,
    JSONExtractFloat(card, 'confidence') AS confidence,
    JSONExtractRaw(card, 'evidence') AS evidence
FROM words
LEFT JOIN answers USING (word_id)
LEFT JOIN cards USING (word_id)
ORDER BY said_at, word_id
