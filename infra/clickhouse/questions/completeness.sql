-- purpose: What the audit holds of each partition: how many events, up to where and when, and what is missing in its chains.
-- param topic String = : one topic; empty: all
-- rows: any
-- columns: topic, partition, events, first_offset, last_offset, last_appended_at, last_recorded_at, chains, missing_seqs
-- columns: repeated_rows, unreadable
-- example: steward audit query completeness
WITH chains AS (
    SELECT
        topic AS of_topic,
        partition AS of_partition,
        cluster_id AS cluster,
        toInt64(max(seq)) - toInt64(uniqExact(seq)) AS missing
    FROM events_read
    WHERE seq > 0 AND ({topic:String} = '' OR topic = {topic:String})
    GROUP BY of_topic, of_partition, cluster
),
gaps AS (
    SELECT of_topic, of_partition, count() AS chains, sum(missing) AS missing_seqs
    FROM chains
    GROUP BY of_topic, of_partition
),
held AS (
    SELECT
        topic AS of_topic,
        partition AS of_partition,
        uniqExact(offset) AS events,
        count() - events AS repeated_rows,
        min(offset) AS first_offset,
        max(offset) AS last_offset,
        max(appended_at) AS last_appended_at,
        max(recorded_at) AS last_recorded_at,
        countIf(kind = 'unreadable') AS unreadable
    FROM events
    WHERE {topic:String} = '' OR topic = {topic:String}
    GROUP BY of_topic, of_partition
)
SELECT
    of_topic AS topic,
    of_partition AS partition,
    events,
    first_offset,
    last_offset,
    last_appended_at,
    last_recorded_at,
    chains,
    missing_seqs,
    repeated_rows,
    unreadable
FROM held
LEFT JOIN gaps USING (of_topic, of_partition)
ORDER BY topic, partition
