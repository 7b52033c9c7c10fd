-- purpose: Claims made on a cluster while another one was open there. There must be none.
-- param cluster String = : one cluster; empty: all
-- rows: none
-- example: steward audit query overlapping-claims
SELECT
    cluster,
    remediation,
    claimed_at,
    earlier AS still_open,
    concat('outcomes/', toString(on_partition), '@', toString(at_offset)) AS place
FROM (
    SELECT
        cluster_id AS cluster,
        remediation_id AS remediation,
        occurred_at AS claimed_at,
        partition AS on_partition,
        offset AS at_offset,
        kind AS what,
        lagInFrame(kind, 1, '') OVER before AS previous,
        lagInFrame(remediation_id, 1, '') OVER before AS earlier
    FROM events_read
    WHERE
        topic = 'outcomes' AND kind IN ('Claimed', 'Concluded')
        AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    WINDOW before AS (PARTITION BY cluster_id ORDER BY partition, offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE what = 'Claimed' AND previous = 'Claimed'
ORDER BY claimed_at
