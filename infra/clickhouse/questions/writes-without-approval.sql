-- purpose: Steps on a cluster that no open claim with valid approvals of its plan covers. There must be none.
-- param cluster String = : one cluster; empty: all
-- rows: none
-- columns: intended_at, cluster, remediation, call, place, why
-- note: Valid: of exactly this plan, for this remediation, counted by the ledger, not expired when it was claimed, not used before.
-- example: steward audit query writes-without-approval
WITH
steps AS (
    SELECT cluster_id, remediation_id, partition, offset, occurred_at, call, step
    FROM events_read
    WHERE topic = 'outcomes' AND kind = 'StepIntended' AND ({cluster:String} = '' OR cluster_id = {cluster:String})
),
claims AS (
    SELECT
        cluster_id,
        remediation_id,
        groupArrayIf((offset, occurred_at, digest, mode, tier, arrayDistinct(approvers)), kind = 'Claimed') AS claimed,
        groupArrayIf(offset, kind = 'Concluded') AS concluded
    FROM events_read
    WHERE topic = 'outcomes' AND kind IN ('Claimed', 'Concluded')
    GROUP BY cluster_id, remediation_id
),
authorised AS (
    SELECT remediation_id, digest, any(needed) AS people_needed
    FROM events_read
    WHERE topic = 'remediations' AND kind = 'ExecutionAuthorized'
    GROUP BY remediation_id, digest
),
approved AS (
    SELECT remediation_id, digest, groupArray((actor, valid_until)) AS words
    FROM events_read
    WHERE
        topic = 'approvals' AND kind = 'Approved'
        AND approval_id IN (SELECT approval_id FROM events_read WHERE topic = 'remediations' AND kind = 'ApprovalCounted')
    GROUP BY remediation_id, digest
),
judged AS (
    SELECT
        s.cluster_id AS cluster,
        s.remediation_id AS remediation,
        s.partition AS on_partition,
        s.offset AS at_offset,
        s.occurred_at AS intended_at,
        s.call AS called,
        arraySort(c -> c.1, arrayFilter(c -> c.1 < s.offset, claims.claimed)) AS earlier,
        earlier[-1] AS claim,
        arrayExists(o -> o > claim.1 AND o < s.offset, claims.concluded) AS over
    FROM steps AS s
    LEFT JOIN claims ON claims.cluster_id = s.cluster_id AND claims.remediation_id = s.remediation_id
),
whole AS (
    SELECT
        j.*,
        j.claim.3 AS plan,
        j.claim.6 AS people,
        a.digest AS authorised_digest,
        a.people_needed AS people_needed,
        arrayFilter(p -> arrayExists(w -> w.1 = p AND w.2 >= j.claim.2, v.words), j.claim.6) AS valid
    FROM judged AS j
    LEFT JOIN authorised AS a ON a.remediation_id = j.remediation AND a.digest = j.claim.3
    LEFT JOIN approved AS v ON v.remediation_id = j.remediation AND v.digest = j.claim.3
)
SELECT
    intended_at,
    cluster,
    remediation,
    called AS call,
    concat('outcomes/', toString(on_partition), '@', toString(at_offset)) AS place,
    multiIf(
        claim.1 = 0 AND plan = '', 'no claim before it',
        over, 'its claim was concluded before it',
        length(earlier) > 1, 'its approvals were used by an earlier claim',
        claim.4 NOT IN ('on', 'dry_run'), concat('claimed in mode ', claim.4),
        authorised_digest = '', 'nobody authorised this plan',
        length(valid) < greatest(people_needed, multiIf(claim.5 = 'LOW', 0, claim.5 = 'MEDIUM', 1, claim.5 = 'HIGH', 2, 1000)),
        concat('only ', toString(length(valid)), ' of its approvals are on record and valid'),
        ''
    ) AS why
FROM whole
WHERE why != ''
ORDER BY intended_at, at_offset
