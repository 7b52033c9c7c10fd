-- purpose: The proof in plain SQL: rows that are not what their bytes hash to, or do not continue their chain. None.
-- param cluster String = : one cluster; empty: all
-- rows: none
-- columns: cluster, place, seq, why
-- example: steward audit query chain-breaks
SELECT
    cluster,
    concat(of_topic, '/', toString(of_partition), '@', toString(at_offset)) AS place,
    number AS seq,
    multiIf(
        NOT intact, 'its bytes are not those that were hashed',
        number = last_number AND own = last_own, 'repeated',
        number != last_number + 1, concat('follows seq ', toString(last_number)),
        prev != last_own, concat('seq ', toString(last_number), ' is not what it was when this was written'),
        ''
    ) AS why
FROM (
    SELECT
        cluster_id AS cluster,
        topic AS of_topic,
        partition AS of_partition,
        offset AS at_offset,
        seq AS number,
        hash AS own,
        prev_hash AS prev,
        hash = lower(hex(SHA256(substring(raw, 11)))) AS intact,
        lagInFrame(seq, 1, 0) OVER chain AS last_number,
        lagInFrame(hash, 1, '') OVER chain AS last_own
    FROM events_read
    WHERE seq > 0 AND ({cluster:String} = '' OR cluster_id = {cluster:String})
    WINDOW chain AS (PARTITION BY topic, cluster_id ORDER BY partition, offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE why != ''
ORDER BY of_topic, of_partition, at_offset
