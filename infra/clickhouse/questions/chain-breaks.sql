-- purpose: The proof in plain SQL: rows that are not what their bytes hash to, or do not continue their chain. None.
-- param cluster String = : one cluster; empty: all
-- rows: none
-- columns: cluster, place, seq, why
-- note: Records without a seq on a chained topic are of no chain: somebody else's, or events that an older audit could not read yet.
-- note: A chain may go on behind one, whose bytes its next event then has in `prev_hash`: an owner that starts anew counts it.
-- note: Somebody else's with a seq is a row here; `steward audit verify` alone knows whose events belong on which topic.
-- example: steward audit query chain-breaks
WITH
unchained AS (
    SELECT
        cluster_id AS cluster,
        topic AS of_topic,
        partition AS of_partition,
        offset AS at_offset,
        lower(hex(SHA256(substring(raw, 11)))) AS body,
        kind != 'unreadable' OR hash = lower(hex(SHA256(raw))) AS intact
    FROM events_read
    WHERE
        seq = 0
        AND topic IN ('diagnoses', 'incidents', 'notifications', 'outcomes', 'proposals', 'remediations', 'tickets')
        AND ({cluster:String} = '' OR cluster_id = {cluster:String})
),
strangers AS (
    SELECT cluster, of_topic, arraySort(groupArray((of_partition, at_offset, body))) AS others
    FROM unchained
    GROUP BY cluster, of_topic
)
SELECT
    cluster,
    concat(of_topic, '/', toString(of_partition), '@', toString(at_offset)) AS place,
    number AS seq,
    why
FROM (
    SELECT
        cluster,
        of_topic,
        of_partition,
        at_offset,
        number,
        arrayFilter(
            o -> (o.1, o.2) > (last_partition, last_offset) AND (o.1, o.2) < (of_partition, at_offset), others
        ) AS passed,
        multiIf(
            NOT intact, 'its bytes are not those that were hashed',
            number = last_number AND own = last_own, 'repeated',
            number > last_number + 1 AND passed[greatest(number - last_number - 1, 1)].3 = prev, '',
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
            lagInFrame(hash, 1, '') OVER chain AS last_own,
            lagInFrame(partition, 1, -1) OVER chain AS last_partition,
            lagInFrame(offset, 1, -1) OVER chain AS last_offset
        FROM events_read
        WHERE seq > 0 AND ({cluster:String} = '' OR cluster_id = {cluster:String})
        WINDOW chain AS (PARTITION BY topic, cluster_id ORDER BY partition, offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ) AS links
    LEFT JOIN strangers USING (cluster, of_topic)
    UNION ALL
    SELECT cluster, of_topic, of_partition, at_offset, 0 AS number, [] AS passed, 'its bytes are not those that were hashed' AS why
    FROM unchained
    WHERE NOT intact
)
WHERE why != ''
ORDER BY of_topic, of_partition, at_offset
