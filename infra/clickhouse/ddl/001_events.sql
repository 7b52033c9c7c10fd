-- One row a record of any topic. Nothing is ever updated, deleted or timed out here.
--
-- PARTITION BY append month: an insert over two partitions is not atomic, so the sink cuts its blocks there.
-- ORDER BY place: the sink resumes from max(offset) + 1 of each partition, and a chain is checked in this order; a story's
-- events stand close together in it, so the bloom filters find them by granule.
-- non_replicated_deduplication_window: an insert of unknown fate is repeated with the identical block; this drops the second.
-- fsync: a lost part under a kept later one would be a hole that nobody goes back to.
CREATE TABLE IF NOT EXISTS events
(
    -- where it stands on the log
    topic             LowCardinality(String),
    partition         Int32 CODEC(Delta, ZSTD(1)),
    offset            Int64 CODEC(Delta, ZSTD(1)),
    appended_at       DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'by the broker',
    recorded_at       DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'when the sink made this row',

    -- its head
    kind              LowCardinality(String) COMMENT 'the event class; unreadable; foreign: an alert as JSON',
    event_id          String CODEC(ZSTD(1)),
    occurred_at       DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'the log''s time when it was decided',
    seq               Int64 CODEC(Delta, ZSTD(1)) COMMENT 'per cluster and owned topic; 0: not chained',
    prev_hash         String CODEC(ZSTD(1)) COMMENT 'hex SHA-256 of the predecessor''s body',
    hash              String CODEC(ZSTD(1)) COMMENT 'hex SHA-256 of the Avro body: lower(hex(SHA256(substring(raw, 11))))',
    cause_topic       LowCardinality(String) COMMENT 'the input that this answers; tick: time alone',
    cause_partition   Int64 CODEC(Delta, ZSTD(1)),
    cause_offset      Int64 CODEC(Delta, ZSTD(1)),
    cause_sha         String CODEC(ZSTD(1)) COMMENT 'hex SHA-256 of that input''s bytes',
    controls_offset   Int64 CODEC(Delta, ZSTD(1)) COMMENT 'how far controls had been read; -1: not consulted',

    -- whose story
    cluster_id        LowCardinality(String) COMMENT '~N: partition N as a whole; *: every cluster',
    incident_id       String CODEC(ZSTD(1)),
    remediation_id    String CODEC(ZSTD(1)),
    approval_id       String CODEC(ZSTD(1)),
    attempt           Int64 CODEC(T64, ZSTD(1)),

    -- who
    actor             LowCardinality(String) COMMENT 'person, principal, owner, playbook or model',
    via               LowCardinality(String),
    approvers         Array(String) CODEC(ZSTD(1)) COMMENT 'whose signed words this event carries',

    -- what
    action_type       LowCardinality(String),
    target            Array(String) CODEC(ZSTD(1)) COMMENT 'store:4, region:180',
    call              LowCardinality(String),
    undo_call         LowCardinality(String),
    direction         LowCardinality(String) COMMENT 'of an intended step: do, undo',
    step              Int64 CODEC(T64, ZSTD(1)) COMMENT 'of a claim; of the escalation, where approval is asked',
    change            Int64 CODEC(T64, ZSTD(1)) COMMENT 'which change of the plan, from 0; -1: none',
    keep_s            Int64 CODEC(T64, ZSTD(1)),
    settled           Bool,
    owed              Int64 CODEC(T64, ZSTD(1)) COMMENT 'changes handed to a person',

    -- by which rule
    mode              LowCardinality(String),
    tier              LowCardinality(String),
    rule              LowCardinality(String),
    needed            Int64 CODEC(T64, ZSTD(1)) COMMENT 'people',
    digest            String CODEC(ZSTD(1)),
    policy_version    Int64 CODEC(T64, ZSTD(1)),
    valid_until       DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'expiry or deadline; 1970: none',

    -- what came of it
    outcome           LowCardinality(String) COMMENT 'of a claim; of a step: its answer or finding',
    reason_code       LowCardinality(String),
    objections        Array(String) CODEC(ZSTD(1)) COMMENT 'all codes',
    text              String CODEC(ZSTD(3)),

    -- how it was thought
    alert             LowCardinality(String),
    diagnosis         LowCardinality(String),
    confidence        Float64 CODEC(ZSTD(1)),
    model             LowCardinality(String),
    prompt_version    LowCardinality(String),
    prompt_sha        LowCardinality(String),
    build             LowCardinality(String),
    synthetic         Bool,

    -- all of it
    payload           String CODEC(ZSTD(3)) COMMENT 'canonical JSON of the event without its head',
    raw               String CODEC(ZSTD(3)) COMMENT 'the bytes as on the topic',
    fingerprint       LowCardinality(String) COMMENT 'hex CRC-64-AVRO of the schema that it was written with',
    row_version       UInt16 COMMENT 'how the typed columns were filled',

    INDEX by_cluster cluster_id TYPE set(64) GRANULARITY 1,
    INDEX by_incident incident_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_remediation remediation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_kind kind TYPE set(64) GRANULARITY 1,
    INDEX by_time appended_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1;
