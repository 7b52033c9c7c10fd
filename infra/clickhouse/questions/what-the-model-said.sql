-- purpose: What a model was shown and what it answered: evidence, its own words, its prompt, what was made of it.
-- param incident String = : one incident; empty: all
-- rows: any
-- columns: at, cluster, incident, what, model, prompt_version, prompt_sha, diagnosis, confidence, action, code, summary
-- columns: reply, evidence, took_ms
-- example: steward audit query what-the-model-said --param incident=INC-2f81
SELECT
    occurred_at AS at,
    cluster_id AS cluster,
    incident_id AS incident,
    kind AS what,
    model,
    prompt_version,
    prompt_sha,
    diagnosis,
    confidence,
    action_type AS action,
    reason_code AS code,
    text AS summary,
    JSONExtractString(payload, 'reply') AS reply,
    JSONExtractRaw(payload, 'evidence') AS evidence,
    JSONExtractInt(payload, 'took_ms') AS took_ms
FROM events_read
WHERE
    topic IN ('diagnoses', 'proposals') AND kind IN ('DiagnosisMade', 'DiagnosisAbstained', 'ActionProposed', 'NothingProposed')
    AND actor = 'model'
    AND ({incident:String} = '' OR incident_id = {incident:String})
ORDER BY occurred_at, topic, offset
