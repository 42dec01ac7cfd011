-- Metrics: samples of numbers, native histograms, exemplars, and the series that they belong to.

CREATE TABLE IF NOT EXISTS samples
(
    MetricName LowCardinality(String)  CODEC(ZSTD(1)),
    SeriesId   UInt64                  CODEC(ZSTD(1)),
    Timestamp  DateTime64(3, 'UTC')    CODEC(DoubleDelta, ZSTD(1)),
    Value      Float64                 CODEC(Gorilla(8), ZSTD(1))  -- NaN 0x7ff0000000000002 marks a stale series, as in Prometheus
)
ENGINE = ReplacingMergeTree  -- what a sender repeats after a lost answer is there once
PARTITION BY toDate(Timestamp)
ORDER BY (MetricName, SeriesId, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS histograms
(
    MetricName     LowCardinality(String)  CODEC(ZSTD(1)),
    SeriesId       UInt64                  CODEC(ZSTD(1)),
    Timestamp      DateTime64(3, 'UTC')    CODEC(DoubleDelta, ZSTD(1)),
    Schema         Int8                    CODEC(ZSTD(1)),  -- resolution: bounds grow by 2^(2^-Schema)
    Count          Float64                 CODEC(ZSTD(1)),
    Sum            Float64                 CODEC(Gorilla(8), ZSTD(1)),
    ZeroThreshold  Float64                 CODEC(ZSTD(1)),
    ZeroCount      Float64                 CODEC(ZSTD(1)),
    PositiveOffset Int32                   CODEC(ZSTD(1)),  -- Prometheus' index of the first bucket
    Positive       Array(Float64)          CODEC(ZSTD(1)),
    NegativeOffset Int32                   CODEC(ZSTD(1)),
    Negative       Array(Float64)          CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (MetricName, SeriesId, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS exemplars
(
    MetricName LowCardinality(String)                CODEC(ZSTD(1)),
    SeriesId   UInt64                                CODEC(ZSTD(1)),
    Timestamp  DateTime64(3, 'UTC')                  CODEC(DoubleDelta, ZSTD(1)),
    Value      Float64                               CODEC(Gorilla(8), ZSTD(1)),
    Labels     Map(LowCardinality(String), String)   CODEC(ZSTD(1))  -- trace_id, span_id, and what was measured with it
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (MetricName, SeriesId, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

-- Written when a series is new, and once an hour while it lives.
CREATE TABLE IF NOT EXISTS series
(
    MetricName LowCardinality(String)                                CODEC(ZSTD(1)),
    SeriesId   UInt64                                                CODEC(ZSTD(1)),
    Labels     SimpleAggregateFunction(anyLast, Map(String, String)) CODEC(ZSTD(1)),  -- without the name
    Family     SimpleAggregateFunction(anyLast, String)              CODEC(ZSTD(1)),  -- x of x_bucket, x_sum, x_count
    Type       SimpleAggregateFunction(anyLast, String)              CODEC(ZSTD(1)),
    Unit       SimpleAggregateFunction(anyLast, String)              CODEC(ZSTD(1)),
    Help       SimpleAggregateFunction(anyLast, String)              CODEC(ZSTD(1)),
    FirstSeen  SimpleAggregateFunction(min, DateTime64(3, 'UTC'))    CODEC(ZSTD(1)),
    LastSeen   SimpleAggregateFunction(max, DateTime64(3, 'UTC'))    CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (MetricName, SeriesId);
