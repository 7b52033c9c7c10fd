-- purpose: Why nothing was done, or not yet: every reason on record for an incident, in order, with its code.
-- param incident String: the incident
-- rows: any
-- columns: at, remediation, what, code, reason, outcome, until
-- example: steward audit query why-nothing --param incident=INC-2f81
SELECT
    occurred_at AS at,
    remediation_id AS remediation,
    kind AS what,
    if(reason_code != '', reason_code, arrayStringConcat(objections, ', ')) AS code,
    text AS reason,
    outcome,
    if(toUnixTimestamp64Milli(valid_until) = 0, NULL, valid_until) AS until
FROM events_read
WHERE
    kind IN (
        'DiagnosisAbstained', 'DiagnosisOverdue', 'NothingProposed', 'ProposalRefused', 'ProposalDeferred', 'Denied',
        'ApprovalRejected', 'ApprovalEscalated', 'ExecutionBlocked', 'ClaimRefused', 'ClusterQuarantined',
        'ExecutionAborting', 'RemediationFlagged', 'RemediationClosed', 'IncidentClosed', 'Concluded'
    )
    AND NOT (kind = 'Concluded' AND outcome = 'succeeded')
    AND NOT (kind = 'RemediationClosed' AND reason_code = 'succeeded')
    AND (
        incident_id = {incident:String}
        OR remediation_id IN (
            SELECT remediation_id FROM events_read WHERE incident_id = {incident:String} AND remediation_id != ''
        )
    )
ORDER BY occurred_at, appended_at, topic, offset
