-- Spans: of OTLP (raw_traces) and of the gateway's request log (requests.sql). Readers read the view all_spans.

CREATE TABLE IF NOT EXISTS spans
(
    Timestamp          DateTime64(9, 'UTC')                 CODEC(Delta(8), ZSTD(1)),
    TraceId            FixedString(16)                      CODEC(ZSTD(1)),
    SpanId             FixedString(8)                       CODEC(ZSTD(1)),
    ParentSpanId       FixedString(8)                       CODEC(ZSTD(1)),
    TraceState         String                               CODEC(ZSTD(1)),
    SpanName           LowCardinality(String)               CODEC(ZSTD(1)),
    SpanKind           UInt8                                CODEC(ZSTD(1)),  -- OTLP's: 1 internal, 2 server, 3 client, 4 producer, 5 consumer
    ServiceName        LowCardinality(String)               CODEC(ZSTD(1)),
    InstanceId         LowCardinality(String)               CODEC(ZSTD(1)),
    Source             Enum8('otlp' = 0, 'gateway' = 1, 'mesh' = 2) CODEC(ZSTD(1)),
    Route              LowCardinality(String)               CODEC(ZSTD(1)),
    HttpMethod         LowCardinality(String)               CODEC(ZSTD(1)),
    HttpStatus         UInt16                               CODEC(ZSTD(1)),  -- 0: none
    ResourceAttributes Map(LowCardinality(String), String)  CODEC(ZSTD(1)),
    ScopeName          LowCardinality(String)               CODEC(ZSTD(1)),
    ScopeVersion       LowCardinality(String)               CODEC(ZSTD(1)),
    SpanAttributes     Map(LowCardinality(String), String)  CODEC(ZSTD(1)),
    Duration           UInt64                               CODEC(T64, ZSTD(1)),  -- nanoseconds
    StatusCode         UInt8                                CODEC(ZSTD(1)),  -- 0 unset, 1 ok, 2 error
    StatusMessage      String                               CODEC(ZSTD(1)),
    `Events.Timestamp` Array(DateTime64(9, 'UTC'))          CODEC(ZSTD(1)),
    `Events.Name`      Array(LowCardinality(String))        CODEC(ZSTD(1)),
    `Events.Attributes` Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    `Links.TraceId`    Array(FixedString(16))               CODEC(ZSTD(1)),
    `Links.SpanId`     Array(FixedString(8))                CODEC(ZSTD(1)),
    `Links.Attributes` Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    Arrived            DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),  -- when it was inserted: the tail rules go by it
    INDEX idx_arrived Arrived TYPE minmax GRANULARITY 1,
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_attr_val mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, toStartOfFiveMinutes(Timestamp), SpanName, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

-- Whole traces that the tail rules keep longer.
CREATE TABLE IF NOT EXISTS kept_spans AS spans;

-- Up to here readers take kept_spans, from here on spans: so a span is read once, though both tables have it.
CREATE TABLE IF NOT EXISTS kept_until (Boundary DateTime64(9, 'UTC')) ENGINE = MergeTree ORDER BY Boundary;

-- What arrived until then was looked at by the tail rules; they go on from there.
CREATE TABLE IF NOT EXISTS decided_until (Until DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree(Until) ORDER BY tuple();

CREATE VIEW IF NOT EXISTS all_spans AS
SELECT * FROM spans WHERE Timestamp >= (SELECT max(Boundary) FROM kept_until)
UNION ALL
SELECT * FROM kept_spans WHERE Timestamp < (SELECT max(Boundary) FROM kept_until);

CREATE TABLE IF NOT EXISTS raw_traces
(
    resource_spans Array(Tuple(
        resource Tuple(attributes {{attributes(1)}}),
        scope_spans Array(Tuple(
            scope Tuple(name String, version String),
            spans Array(Tuple(
                trace_id String, span_id String, trace_state String, parent_span_id String,
                name String, kind Int32, start_time_unix_nano UInt64, end_time_unix_nano UInt64,
                attributes {{attributes}},
                events Array(Tuple(time_unix_nano UInt64, name String, attributes {{attributes(1)}})),
                links Array(Tuple(trace_id String, span_id String, trace_state String, attributes {{attributes(1)}})),
                status Tuple(message String, code Int32)))))))
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_traces_spans TO spans AS
SELECT
    {{time(sp.start_time_unix_nano)}} AS Timestamp,
    {{id(sp.trace_id, 16)}} AS TraceId,
    {{id(sp.span_id, 8)}} AS SpanId,
    {{id(sp.parent_span_id, 8)}} AS ParentSpanId,
    sp.trace_state AS TraceState,
    sp.name AS SpanName,
    if(sp.kind BETWEEN 0 AND 5, sp.kind, 0)::UInt8 AS SpanKind,
    service AS ServiceName,
    instance AS InstanceId,
    'otlp' AS Source,
    a['http.route'] AS Route,
    if(a['http.request.method'] != '', a['http.request.method'], a['http.method']) AS HttpMethod,
    toUInt16OrZero(if(a['http.response.status_code'] != '', a['http.response.status_code'], a['http.status_code'])) AS HttpStatus,
    ra AS ResourceAttributes,
    scope_name AS ScopeName,
    scope_version AS ScopeVersion,
    a AS SpanAttributes,
    if(sp.end_time_unix_nano > sp.start_time_unix_nano, sp.end_time_unix_nano - sp.start_time_unix_nano, 0)::UInt64 AS Duration,
    if(sp.status.code BETWEEN 0 AND 2, sp.status.code, 0)::UInt8 AS StatusCode,
    sp.status.message AS StatusMessage,
    arrayMap(e -> {{time(e.time_unix_nano)}}, sp.events) AS `Events.Timestamp`,
    sp.events.name AS `Events.Name`,
    arrayMap(e -> {{map(e.attributes, 1)}}, sp.events) AS `Events.Attributes`,
    arrayMap(l -> {{id(l.trace_id, 16)}}, sp.links) AS `Links.TraceId`,
    arrayMap(l -> {{id(l.span_id, 8)}}, sp.links) AS `Links.SpanId`,
    arrayMap(l -> {{map(l.attributes, 1)}}, sp.links) AS `Links.Attributes`
FROM
(
    SELECT ra, service, instance, scope_name, scope_version, sp, {{map(sp.attributes)}} AS a
    FROM
    (
        SELECT
            ra, if(ra['service.name'] = '', 'unknown_service', ra['service.name']) AS service,
            ra['service.instance.id'] AS instance,
            ss.scope.name AS scope_name, ss.scope.version AS scope_version, arrayJoin(ss.spans) AS sp
        FROM
        (
            SELECT {{map(rs.resource.attributes, 1)}} AS ra, arrayJoin(rs.scope_spans) AS ss
            FROM (SELECT arrayJoin(resource_spans) AS rs FROM raw_traces)
        )
    )
    -- ASGI's instrumentation makes a span of every message of a response: three of four spans, and they say nothing.
    WHERE NOT (sp.kind = 1 AND (endsWith(sp.name, ' http send') OR endsWith(sp.name, ' http receive')))
);
