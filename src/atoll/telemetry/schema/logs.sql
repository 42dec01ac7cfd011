-- Log records: of OTLP (raw_logs), captured lines of services, and the platform's own.

CREATE TABLE IF NOT EXISTS logs
(
    Timestamp          DateTime64(9, 'UTC')                 CODEC(Delta(8), ZSTD(1)),
    TraceId            FixedString(16)                      CODEC(ZSTD(1)),
    SpanId             FixedString(8)                       CODEC(ZSTD(1)),
    SeverityNumber     UInt8                                CODEC(ZSTD(1)),  -- OTLP's: 1 trace, 5 debug, 9 info, 13 warn, 17 error, 21 fatal
    SeverityText       LowCardinality(String)               CODEC(ZSTD(1)),
    ServiceName        LowCardinality(String)               CODEC(ZSTD(1)),
    InstanceId         LowCardinality(String)               CODEC(ZSTD(1)),
    Source             Enum8('otlp' = 0, 'stdout' = 1, 'platform' = 2) CODEC(ZSTD(1)),
    Body               String                               CODEC(ZSTD(1)),
    LogAttributes      Map(LowCardinality(String), String)  CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String)  CODEC(ZSTD(1)),
    ScopeName          LowCardinality(String)               CODEC(ZSTD(1)),
    Pattern            UInt64 DEFAULT cityHash64(replaceRegexpAll(substring(
        if(startsWith(Body, 'Traceback '), splitByChar('\n', Body)[-1], substringIndex(Body, '\n', 1)), 1, 256),
        '[0-9A-Za-z]*[0-9][0-9A-Za-z]*', '#'))              CODEC(ZSTD(1)),  -- of similar lines: words with a digit count as equal
    Run                LowCardinality(String)               CODEC(ZSTD(1)),  -- start of the run of the instance that printed it
    Arrived            DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),  -- when it was inserted: what a live tail goes by
    INDEX idx_arrived Arrived TYPE minmax GRANULARITY 1,
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_body Body TYPE text(tokenizer = splitByNonAlpha)
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY Timestamp
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS raw_logs
(
    resource_logs Array(Tuple(
        resource Tuple(attributes {{attributes(1)}}),
        scope_logs Array(Tuple(
            scope Tuple(name String, version String),
            log_records Array(Tuple(
                time_unix_nano UInt64, observed_time_unix_nano UInt64, severity_number Int32, severity_text String,
                body {{value}}, attributes {{attributes}}, trace_id String, span_id String, event_name String))))))
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_logs_logs TO logs AS
SELECT
    {{time(if(r.time_unix_nano != 0, r.time_unix_nano, r.observed_time_unix_nano))}} AS Timestamp,
    {{id(r.trace_id, 16)}} AS TraceId,
    {{id(r.span_id, 8)}} AS SpanId,
    if(r.severity_number BETWEEN 0 AND 24, r.severity_number, 0)::UInt8 AS SeverityNumber,
    r.severity_text AS SeverityText,
    if(ra['service.name'] = '', 'unknown_service', ra['service.name']) AS ServiceName,
    ra['service.instance.id'] AS InstanceId,
    'otlp' AS Source,
    {{text(r.body)}} AS Body,
    if(r.event_name = '', a, mapConcat(a, map('event.name', r.event_name)::Map(LowCardinality(String), String))) AS LogAttributes,
    ra AS ResourceAttributes,
    scope_name AS ScopeName
FROM
(
    SELECT ra, scope_name, r, {{map(r.attributes)}} AS a
    FROM
    (
        SELECT ra, sl.scope.name AS scope_name, arrayJoin(sl.log_records) AS r
        FROM
        (
            SELECT {{map(rl.resource.attributes, 1)}} AS ra, arrayJoin(rl.scope_logs) AS sl
            FROM (SELECT arrayJoin(resource_logs) AS rl FROM raw_logs)
        )
    )
);
