-- purpose: Everything on record about one incident and its remediations, in order.
-- param incident String: the incident
-- rows: any
-- columns: at, place, what, remediation, who, action, target, call, outcome, code, text, caused_by
-- example: steward audit query incident-story --param incident=INC-2f81
SELECT
    occurred_at AS at,
    concat(topic, '/', toString(partition), '@', toString(offset)) AS place,
    kind AS what,
    remediation_id AS remediation,
    actor AS who,
    action_type AS action,
    arrayStringConcat(target, ' ') AS target,
    call,
    outcome,
    if(reason_code != '', reason_code, arrayStringConcat(objections, ', ')) AS code,
    text,
    if(cause_topic IN ('', 'tick'), cause_topic, concat(cause_topic, '/', toString(cause_partition), '@', toString(cause_offset)))
        AS caused_by
FROM events_read
WHERE
    incident_id = {incident:String}
    OR (
        remediation_id != ''
        AND remediation_id IN (
            SELECT remediation_id FROM events_read WHERE incident_id = {incident:String} AND remediation_id != ''
        )
    )
ORDER BY occurred_at, appended_at, seq, topic, offset
