-- What people and questions read: each place of the log once, the first row recorded for it. The columns after `offset` are
-- functions of the bytes at that place: they change nothing about what is dropped, and let filters on them reach the table.
CREATE VIEW IF NOT EXISTS events_read AS
SELECT *
FROM events
ORDER BY topic, partition, offset, recorded_at
LIMIT 1 BY topic, partition, offset, cluster_id, incident_id, remediation_id, kind, appended_at;
