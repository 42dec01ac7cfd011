-- The gateway's request log: HAProxy's lines (gateway/request_log.py) become spans, a roll-up and a count of what is missing.
-- Every column of a line is text (read as TSVRaw), and nothing in a line makes one of these views fail.

CREATE TABLE IF NOT EXISTS raw_requests
(
    Edge String,         -- gateway, mesh, tcp:PORT: the listener; attempt: one that failed and got a fallback; instead: to a service asked instead
    Client String,       -- address; '-': on the mesh and tcp
    Run String,          -- start of the HAProxy process that wrote it, ms
    Line String,         -- its number, counted from 0 for each Run and Edge
    Started String,      -- µs since 1970; '-': before the first rule
    Ended String,        -- µs
    Trace String,        -- the traceparent that was sent on
    Parent String,       -- the traceparent that came
    Target String,       -- route|backend|service, as far as it was found; of a call with a port of its own caller>callee|…
    Server String,       -- instance:digest, or <NOSRV>
    Caller String,
    Method String,
    Protocol String,
    Status String,
    Termination String,  -- HAProxy's two letters
    Retries String,      -- with + when another instance got the last attempt
    Reading String,      -- ms: TR, Tw, Tc, Tr, Ta
    Waiting String,
    Connecting String,
    Answering String,
    Active String,
    BytesIn String,
    BytesOut String,
    Mark String,         -- of breaker and fallback; mark@server@retries: there was a way around, which tells what lay behind it
    Headers String,      -- {x-request-id|host|user-agent}, on the mesh {x-request-id}: as they came, a byte that is not plain as #09
    Path String,
    Complete String      -- '.2': the line is whole, and of this layout
)
ENGINE = Null;

-- The reading of a line, once for all who ask: by the views of request_views.sql.
CREATE TABLE IF NOT EXISTS read_requests
(
    Edge Enum8('gateway' = 1, 'mesh' = 2, 'tcp' = 3),
    Started DateTime64(9, 'UTC'),
    Ended DateTime64(9, 'UTC'),
    Duration UInt64,     -- µs
    Trace String, Parent String,
    Route LowCardinality(String), Service LowCardinality(String), Instance LowCardinality(String), Caller LowCardinality(String),
    Method LowCardinality(String), Protocol LowCardinality(String), Status UInt16, Termination LowCardinality(String),
    Failed UInt8, Retries UInt16, Moved UInt8,
    Reading UInt32, Waiting UInt32, Connecting UInt32, Answering UInt32,  -- ms
    BytesIn UInt64, BytesOut UInt64,
    Client String, RequestId String, Mark LowCardinality(String), Host String, Path String, UserAgent String
)
ENGINE = Null;

-- Ten seconds of one kind of request: what RED figures, the map and the request metrics are made of.
CREATE TABLE IF NOT EXISTS requests
(
    Time     DateTime('UTC'),               -- start of the ten seconds in which they ended
    Edge     Enum8('gateway' = 1, 'mesh' = 2, 'tcp' = 3),
    Service  LowCardinality(String),        -- that it was for; '': none was found
    Route    LowCardinality(String),        -- '' on the mesh, and where none took it
    Instance LowCardinality(String),        -- that answered; '': none did
    Caller   LowCardinality(String),        -- service that called on the mesh, when it said so
    Method   LowCardinality(String),        -- _OTHER: not one of HTTP's own; '': tcp
    Status   UInt16,                        -- 0: none was sent, or tcp
    Count           SimpleAggregateFunction(sum, UInt64),
    Failed          SimpleAggregateFunction(sum, UInt64),  -- 5xx, and answers that broke off on the instance's side
    DurationSum     SimpleAggregateFunction(sum, UInt64),  -- µs; of a WebSocket until the upgrade
    Buckets         SimpleAggregateFunction(sumMap, Map(UInt32, UInt64)),  -- lower bound, µs → requests that took longer than it, up to the next one
    WaitingSum      SimpleAggregateFunction(sum, UInt64),  -- ms in the queue
    ConnectingSum   SimpleAggregateFunction(sum, UInt64),  -- ms
    AnsweringSum    SimpleAggregateFunction(sum, UInt64),  -- ms from the request to the answer's head
    Retries         SimpleAggregateFunction(sum, UInt64),  -- attempts beyond the first
    Redispatches    SimpleAggregateFunction(sum, UInt64),  -- requests that ended at another instance than they began
    BytesIn         SimpleAggregateFunction(sum, UInt64),
    BytesOut        SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Time)
ORDER BY (Service, Edge, Time, Route, Instance, Caller, Method, Status)
SETTINGS ttl_only_drop_parts = 1;

-- How many lines there should be: HAProxy numbers them. Last + 1 - Lines is what was lost between it and here.
CREATE TABLE IF NOT EXISTS request_lines
(
    Run   UInt64,                                   -- start of the process, ms since 1970
    Edge  LowCardinality(String),                   -- gateway, mesh, tcp:PORT, attempt, instead
    Day   SimpleAggregateFunction(max, Date),
    Last  SimpleAggregateFunction(max, UInt64),     -- the highest number seen; the first one is 0
    Lines SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (Run, Edge);

CREATE MATERIALIZED VIEW IF NOT EXISTS raw_requests_lines TO request_lines AS
SELECT
    toUInt64OrZero(r.Run) AS Run,
    r.Edge AS Edge,
    today() AS Day,
    max(toUInt64OrZero(r.Line)) AS Last,
    count() AS Lines
FROM raw_requests AS r
WHERE r.Complete = '.2'
GROUP BY Run, Edge;
