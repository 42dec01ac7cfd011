-- How a line of the request log is read. These views hold nothing and may be made anew.

-- What a fallback gave in the service's place (static, service, last-good), and upon which failure. An attempt that failed
-- and got one is a span below its request and counts nowhere; what the service asked instead did is a call from the one
-- in whose place it answered.
ALTER TABLE read_requests ADD COLUMN IF NOT EXISTS Fallback LowCardinality(String), ADD COLUMN IF NOT EXISTS Failure LowCardinality(String), ADD COLUMN IF NOT EXISTS Attempt UInt8;

ALTER TABLE requests ADD COLUMN IF NOT EXISTS Fallback LowCardinality(String), MODIFY ORDER BY (Service, Edge, Time, Route, Instance, Caller, Method, Status, Fallback);

DROP VIEW IF EXISTS raw_requests_read;

CREATE MATERIALIZED VIEW raw_requests_read TO read_requests AS
WITH
    splitByChar('|', Target, 3) AS target,
    splitByChar('@', r.Mark, 4) AS told,
    length(told) >= 3 AS around,
    multiIf(around, told[1], r.Mark = '-', '', r.Mark) AS mark,
    if(around, told[2], r.Server) AS server,
    if(around, told[3], r.Retries) AS retries,
    startsWith(mark, 'fallback-') AS served,
    toInt64OrZero(Ended) * 1000 AS stopped,
    toUInt64(greatest(toInt64OrZero(Active), 0)) * 1000 AS active,
    toUInt64(if(toInt64OrZero(Started) > 0, greatest(toInt64OrZero(Ended) - toInt64OrZero(Started), 0), active)) AS took,
    {{time(stopped)}} AS ended,
    arrayMap(said -> if(position(said, '#') = 0, said, toValidUTF8(decodeURLComponent(replaceAll(replaceAll(said, '%', '%25'), '#', '%')))),
        splitByChar('|', substring(r.Headers, 2, greatest(length(r.Headers), 2) - 2))) AS headers
SELECT
    multiIf(startsWith(r.Edge, 'tcp'), 'tcp', r.Edge IN ('mesh', 'attempt', 'instead'), 'mesh', 'gateway') AS Edge,
    ended - toIntervalMicrosecond(least(took, 8640000000000)) AS Started,
    ended AS Ended,
    took AS Duration,
    if(r.Trace = '-', '', r.Trace) AS Trace,
    if(r.Parent = '-', '', r.Parent) AS Parent,
    if(length(target) != 3 OR position(target[1], '>') > 0, '', target[1]) AS Route,
    multiIf(length(target) != 3, '', target[3] NOT IN ('', '-'), target[3], substringIndex(target[2], ':', 1)) AS Service,
    if(server IN ('<NOSRV>', '-', ''), '', substring(server, 1, length(server) - 9)) AS Instance,
    multiIf(position(target[1], '>') > 0, substringIndex(target[1], '>', 1), r.Caller = '-', '', r.Caller) AS Caller,
    multiIf(
        r.Edge NOT IN ('gateway', 'mesh', 'attempt', 'instead'), '',
        r.Method IN ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'QUERY'), r.Method,
        '_OTHER') AS Method,
    if(r.Protocol IN ('HTTP/1.0', 'HTTP/1.1', 'HTTP/2.0', 'HTTP/3.0'), replaceOne(substring(r.Protocol, 6), '2.0', '2'), '') AS Protocol,
    toUInt16OrZero(r.Status) AS Status,
    if(startsWith(r.Termination, '-') OR Attempt, '', r.Termination) AS Termination,
    Status >= 500 OR Grpc IN (2, 4, 12, 13, 14, 15) OR (Status != 101 AND NOT Attempt AND substring(r.Termination, 1, 1) IN ('S', 's', 'I', 'R', 'D', 'K', 'U')) OR r.Mark LIKE '%fault-drop:%' AS Failed,
    toUInt16OrZero(replaceOne(retries, '+', '')) AS Retries,
    startsWith(retries, '+') AS Moved,
    toUInt32OrZero(r.Reading) AS Reading,
    toUInt32OrZero(r.Waiting) AS Waiting,
    toUInt32OrZero(r.Connecting) AS Connecting,
    toUInt32OrZero(r.Answering) AS Answering,
    toUInt64OrZero(r.BytesIn) AS BytesIn,
    toUInt64OrZero(r.BytesOut) AS BytesOut,
    if(r.Client = '-', '', r.Client) AS Client,
    if(match(headers[1], '^[A-Za-z0-9._-]{1,128}$'), headers[1], '') AS RequestId,
    r.Edge = 'attempt' AS Attempt,
    if(served, substring(splitByChar(':', mark, 2)[1], 10), '') AS Fallback,
    multiIf(Attempt, mark, served, splitByChar(':', mark, 2)[2], '') AS Failure,
    if(startsWith(mark, 'grpc='), toUInt8OrZero(substring(mark, 6)), 0) AS Grpc,
    multiIf(Attempt OR Grpc > 0, '', served OR mark = '', told[4], mark) AS Mark,
    headers[2] AS Host,
    if(r.Path = '-', '', toValidUTF8(r.Path)) AS Path,
    headers[3] AS UserAgent
FROM raw_requests AS r
WHERE r.Complete = '.2';

DROP VIEW IF EXISTS read_requests_spans;

-- A request through gateway or mesh as a span; bytes to a tcp service have no trace. What nobody sampled is only counted.
CREATE MATERIALIZED VIEW read_requests_spans TO spans AS
WITH ['CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED',
    'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS',
    'UNAUTHENTICATED'][r.Grpc] AS grpc
SELECT
    r.Started AS Timestamp,
    toFixedString(if(r.Trace = '', reinterpretAsString(generateUUIDv4()), unhex(substring(r.Trace, 4, 32))), 16) AS TraceId,
    toFixedString(if(r.Trace = '', substring(reinterpretAsString(generateUUIDv4(1)), 1, 8), unhex(substring(r.Trace, 37, 16))), 8) AS SpanId,
    toFixedString(unhex(substring(r.Parent, 37, 16)), 8) AS ParentSpanId,
    concat(r.Method, ' ', multiIf(r.Route != '', r.Route, r.Service != '', r.Service, 'refused')) AS SpanName,
    2 AS SpanKind,
    if(r.Attempt, 'attempt', toString(r.Edge)) AS ServiceName,
    if(r.Edge = 'mesh', 'mesh', 'gateway') AS Source,
    r.Route AS Route,
    r.Method AS HttpMethod,
    r.Status AS HttpStatus,
    map('service.name', toString(r.Edge)) AS ResourceAttributes,
    'atoll.gateway' AS ScopeName,
    CAST(mapFilter((k, v) -> v NOT IN ('', '0'), map(
        'http.request.method', toString(r.Method),
        'http.response.status_code', toString(r.Status),
        'http.request.size', toString(r.BytesIn),
        'http.response.size', toString(r.BytesOut),
        'http.request.resend_count', toString(r.Retries),
        'url.path', r.Path,
        'server.address', r.Host,
        'client.address', r.Client,
        'user_agent.original', r.UserAgent,
        'network.protocol.version', toString(r.Protocol),
        'error.type', multiIf(r.Status >= 500, toString(r.Status), r.Failed AND r.Grpc > 0, grpc, r.Failed, toString(r.Termination), ''),
        'rpc.system', if(r.Grpc > 0, 'grpc', ''),
        'rpc.grpc.status_code', toString(r.Grpc),
        'atoll.request.id', r.RequestId,
        'atoll.upstream', toString(r.Service),
        'atoll.instance', toString(r.Instance),
        'atoll.caller', toString(r.Caller),
        'atoll.attempts', if(r.Retries = 0, '', toString(r.Retries + 1)),
        'atoll.redispatched', if(r.Moved, 'true', ''),
        'atoll.reading_ms', toString(r.Reading),
        'atoll.queue_ms', toString(r.Waiting),
        'atoll.connect_ms', toString(r.Connecting),
        'atoll.response_ms', toString(r.Answering),
        'atoll.termination', toString(r.Termination),
        'atoll.fallback', toString(r.Fallback),
        'atoll.failure', toString(r.Failure),
        'atoll.mark', toString(r.Mark))), 'Map(LowCardinality(String), String)') AS SpanAttributes,
    r.Duration * 1000 AS Duration,
    if(r.Failed, 2, 0) AS StatusCode,
    if(r.Failed AND r.Grpc > 0, concat('the service answered with gRPC status ', grpc), transform(toString(r.Termination),
        ['SC', 'sC', 'SH', 'sH', 'PH', 'SD', 'sD', 'sQ', 'SQ', 'PC', 'PR', 'PD', 'RC', 'CR', 'cR', 'CQ', 'CC', 'CH', 'cH', 'CD', 'cD', 'DD', 'KD'],
        ['no instance took the connection', 'no instance took the connection in time', 'the instance closed without an answer',
         'the instance did not answer in time', 'the answer was not valid HTTP', 'the instance closed in the middle of the answer',
         'the instance went silent in the middle of the answer', 'no instance had room in time', 'no instance was ready',
         'the gateway refused to connect', 'the gateway refused the request', 'the gateway ended the answer',
         'the gateway ran out of connections', 'the client left before the request was whole', 'the client was too slow with its request',
         'the client left while it waited for an instance', 'the client left while the gateway connected',
         'the client left before the answer', 'the client was too slow with its request', 'the client left in the middle of the answer',
         'the client went silent', 'the instance was taken out in the middle of the answer', 'the connection was ended on purpose'], '')) AS StatusMessage
FROM read_requests AS r
WHERE r.Edge != 'tcp' AND (r.Trace = '' OR bitTest(reinterpretAsUInt8(unhex(substring(r.Trace, 54, 2))), 0));

DROP VIEW IF EXISTS read_requests_sums;

CREATE MATERIALIZED VIEW read_requests_sums TO requests AS
WITH if(r.Status = 101, (toUInt64(r.Reading) + r.Waiting + r.Connecting + r.Answering) * 1000, r.Duration) AS took
SELECT
    toStartOfInterval(toDateTime(r.Ended, 'UTC'), toIntervalSecond(10)) AS Time,
    r.Edge AS Edge, r.Service AS Service, r.Route AS Route, r.Instance AS Instance, r.Caller AS Caller, r.Fallback AS Fallback, r.Method AS Method, r.Status AS Status,
    count() AS Count,
    sum(r.Failed) AS Failed,
    sum(took) AS DurationSum,
    sumMap(map(roundDown(took - (took > 0), [0, 100, 125, 160, 200, 250, 320, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000, 6300, 8000, 10000, 12500, 16000, 20000, 25000, 32000, 40000, 50000, 63000, 80000, 100000, 125000, 160000, 200000, 250000, 320000, 400000, 500000, 630000, 800000, 1000000, 1250000, 1600000, 2000000, 2500000, 3200000, 4000000, 5000000, 6300000, 8000000, 10000000, 12500000, 16000000, 20000000, 25000000, 32000000, 40000000, 50000000, 63000000, 80000000, 100000000])::UInt32, 1::UInt64)) AS Buckets,
    sum(r.Waiting) AS WaitingSum,
    sum(r.Connecting) AS ConnectingSum,
    sum(r.Answering) AS AnsweringSum,
    sum(r.Retries) AS Retries,
    sum(r.Moved) AS Redispatches,
    sum(r.BytesIn) AS BytesIn,
    sum(r.BytesOut) AS BytesOut
FROM read_requests AS r
WHERE NOT r.Attempt
GROUP BY Time, Edge, Service, Route, Instance, Caller, Fallback, Method, Status;
