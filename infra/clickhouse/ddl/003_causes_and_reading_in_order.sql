-- Two words that auditors look for. Aliases: functions of other columns, in rows of any age, so there is no second truth.
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS caused_by String
        ALIAS if(cause_topic IN ('', 'tick'), toString(cause_topic), concat(cause_topic, '/', toString(cause_partition), '@', toString(cause_offset)))
        COMMENT 'the place of the input that this answers: topic/partition@offset; tick: time alone',
    ADD COLUMN IF NOT EXISTS change_id String
        ALIAS if(change < 0, '', concat(remediation_id, '/', toString(change)))
        COMMENT 'which change of whose plan: remediation/number, from 0';

-- As 002, but the columns that a place is told by are the head of the order: the engine then reads in order and remembers one
-- row, where it kept a hash of every place (docs/adr/0018). Filters on them reach the table, as before.
CREATE OR REPLACE VIEW events_read AS
SELECT *, caused_by, change_id
FROM events
ORDER BY topic, partition, offset, cluster_id, incident_id, remediation_id, kind, appended_at, recorded_at
LIMIT 1 BY topic, partition, offset, cluster_id, incident_id, remediation_id, kind, appended_at;
