"""What is asked of both: instant queries at some moments, and range queries over the hour."""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.telemetry.promql.samples import BEGIN, END


@dataclass(frozen=True)
class Question:
    """One query; an instant one when `step` is 0. Times in milliseconds."""

    query: str
    start: int
    end: int
    step: int = 0

    @property
    def path(self) -> str:
        return "/api/v1/query_range" if self.step else "/api/v1/query"

    @property
    def form(self) -> dict[str, str]:
        if self.step:
            return {"query": self.query, "start": _s(self.start), "end": _s(self.end), "step": _s(self.step)}
        return {"query": self.query, "time": _s(self.start)}


def _s(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"


R = "http_requests_total"
B = "latency_seconds_bucket"

BOTH = [
    # selectors, staleness, lookback
    R, f'{R}{{job="api"}}', f'{R}{{code!="200"}}', f'{R}{{instance=~"web-.*"}}', f'{R}{{instance!~"web.*|api-0.*"}}',
    '{__name__="up"}', '{__name__=~"up|build_.*",job="web"}', f'{R}{{missing=""}}', f'{R}{{missing!=""}}', "nothing_here",
    "rare", "odd", "wild", 'words{quote!=""}', 'words{line="a\\nb"}', "rpc_seconds",
    # offset and @
    f"{R} offset 5m", f"{R} offset -5m", f"rate({R}[2m] offset 10m)", f"{R} @ 1700001810", f"{R} @ start()", f"{R} @ end()",
    f"rate({R}[5m] @ end())", f"{R} @ 1700001810 offset 3m", f"sum({R} @ start()) - sum({R})", "rare @ 1700001210",
    "max_over_time(memory_bytes[10m] @ 1700002410 offset -2m)", "timestamp(memory_bytes @ 1700001807)",
    # rates
    f"rate({R}[1m])", f"rate({R}[5m])", f"rate({R}[15s])", f"rate({R}[30s])", f"increase({R}[10m])", "delta(memory_bytes[5m])",
    f"irate({R}[2m])", "idelta(memory_bytes[2m])", f"rate({R}[1h])", "rate(ramp[1m])", "increase(ramp[75s])", "delta(ramp[1m])",
    "rate(rare[10m])", "increase(rare[30m])", "delta(rare[10m])", "irate(rare[30m])", "rate(wild[2m])", "delta(wild[2m])",
    "rate(odd[1m])", "increase(flat[5m])", "rate(temperature[3m])", "rate(latency_seconds_count[7m])",
    # over time
    "sum_over_time(memory_bytes[5m])", "avg_over_time(memory_bytes[5m])", "min_over_time(memory_bytes[5m])",
    "max_over_time(memory_bytes[5m])", "count_over_time(memory_bytes[5m])", "stddev_over_time(memory_bytes[5m])",
    "stdvar_over_time(temperature[10m])", "quantile_over_time(0.9, memory_bytes[10m])", "quantile_over_time(0.5, wild[2m])",
    "quantile_over_time(-1, memory_bytes[5m])", "quantile_over_time(2, memory_bytes[5m])", "quantile_over_time(NaN, flat[5m])",
    f"last_over_time({R}[10m])", f"present_over_time({R}[1m])", f'absent_over_time({R}{{job="none"}}[5m])',
    f'absent_over_time({R}{{instance="web-1:8080"}}[5m])', "changes(temperature[10m])", "resets(temperature[10m])",
    f"resets({R}[30m])", "changes(flat[10m])", "changes(wild[5m])", "sum_over_time(wild[2m])", "avg_over_time(wild[2m])",
    "min_over_time(wild[2m])", "max_over_time(wild[2m])", "stddev_over_time(wild[1m])", "last_over_time(rare[20m])",
    "count_over_time(rare[20m])", "count_over_time(ramp[1m])", "avg_over_time(odd[1m])", "sum_over_time(odd[1m])",
    "stddev_over_time(odd[1m])", "last_over_time(wild[1m])", f"count_over_time({R}[3m])",
    # trends
    "deriv(memory_bytes[10m])", "deriv(ramp[5m])", "deriv(flat[5m])", "predict_linear(memory_bytes[10m], 3600)",
    "predict_linear(ramp[5m], 600)", "holt_winters(memory_bytes[10m], 0.3, 0.6)", "holt_winters(temperature[5m], 0.5, 0.5)",
    "deriv(odd[2m])", "predict_linear(flat[5m], 60)", "predict_linear(memory_bytes[10m] @ 1700001810, 60)",
    # aggregations
    f"sum({R})", f"sum by (job) ({R})", f"sum without (method, code) ({R})", f"avg by (job, code) ({R})", f"min by (job) ({R})",
    f"max by (job) ({R})", f"count by (job) ({R})", f"group by (job) ({R})", f"stddev by (job) ({R})", f"stdvar({R})",
    f"topk(3, {R})", f"bottomk(2, {R})", f"topk by (job) (1, {R})", f"bottomk without (instance) (1, {R})", f"topk(0, {R})",
    f"topk(100, {R})", f"quantile(0.9, {R})", "quantile by (job) (0.5, memory_bytes)", "quantile(NaN, memory_bytes)",
    "quantile(2, memory_bytes)", 'count_values("v", temperature)', 'count_values by (job) ("state", up)',
    'count_values without (instance) ("state", up)', 'count_values("v", odd)', "sum(odd)", "avg(odd)", "min(odd)", "max(odd)",
    "stddev(odd)", "topk(3, odd)", "bottomk(3, odd)", "quantile(0.5, odd)", f"sum by (nothing) ({R})", f"sum by () ({R})",
    f"sum without () ({R})", f"avg(rate({R}[5m])) by (job)", "sum(nothing_here)", "count(nothing_here)", "max(up) by (job) == 1",
    "topk(scalar(count(up)) - 2, memory_bytes)", 'avg(odd{kind=~"huge|half"})', 'max by (__name__) ({job="api",__name__=~"up|memory_bytes"})',
    # arithmetic and comparison
    "memory_bytes / 1024 / 1024", "1 / memory_bytes", "memory_bytes % 1000", "-memory_bytes", "2 ^ temperature", "temperature ^ 2",
    "temperature % 3", "-temperature % 3", "temperature atan2 2", "temperature > 0", "temperature > bool 0", "0 < temperature",
    "0 <= bool temperature", "temperature == 1", "temperature != 1", "1 == bool 1", "1 > bool 2", "2 * 3 + 4 ^ 2 - 7 % 4", "-2 ^ 2",
    "odd * 0", "odd / 0", "odd % 0", "odd > 0", "odd == odd", "odd != odd", "1 / 0", "0 / 0", "-1 / 0", "5 % -3", "-5 % 3", "2 ^ 0.5",
    "1 atan2 2", "odd ^ 0.5", "odd >= bool -1", "(memory_bytes > 5e8) / 1e6", "NaN", "Inf", "-Inf", "0x1F + 1e3", "123456789012345680000", "1e21", "1.5e-7", "vector(1e6)", "0.000001",
    # matching
    "memory_bytes / limit_bytes", "memory_bytes / on (job) group_left limit_bytes", "limit_bytes - on (job) group_right memory_bytes",
    "memory_bytes / ignoring (instance) group_left () limit_bytes", "memory_bytes * on (job, instance) group_left (version) build_info",
    f"{R} * on (instance) group_left (version) build_info", "up == on (job, instance) build_info", "up * on (instance) up",
    "up and memory_bytes > 5e8", f"{R} and on (instance) up == 1", "up unless on (job) limit_bytes > 5.8e8", "up or memory_bytes",
    "up or on (job) memory_bytes", f'{R}{{code="500"}} / ignoring (code) {R}{{code="200",method="GET"}}',
    f'sum by (job) (rate({R}{{code="500"}}[5m])) / sum by (job) (rate({R}[5m]))', "up + up", "up > up", "up == bool up",
    "up unless up == 0", "up and up == 0", "nothing_here or up", "up + on () group_left vector(1)", "vector(1) or up", "up * 2 or up",
    "memory_bytes > on (job) group_left limit_bytes", "memory_bytes > bool on (job) group_left limit_bytes", "limit_bytes * on (job) up",
    "up * on (job) limit_bytes", "up - on (job) group_left memory_bytes", "sum(up) + on () sum(memory_bytes)", "{job='api'} + {job='api'}",
    "label_replace(up, 'x', 'y', '', '') * on (x) up", "up and on () vector(1)", "up unless on () vector(1)", "build_info * on(instance) group_left(job) up",
    # functions
    "abs(temperature)", "ceil(memory_bytes / 7)", "floor(memory_bytes / 7)", "exp(temperature)", "sqrt(odd)", "ln(odd)", "log2(odd)", "log10(odd)",
    "sgn(odd)", "round(odd)", "round(memory_bytes, 1000)", "round(odd, 0.1)", "clamp(temperature, -2, 3)", "clamp(temperature, 3, -2)",
    "clamp_min(odd, 0)", "clamp_max(odd, 0)", "clamp(odd, -1, 1)", "sin(temperature)", "cos(temperature)", "tan(temperature)",
    "asin(temperature / 5)", "acos(temperature / 5)", "atan(temperature)", "sinh(temperature)", "cosh(temperature)", "tanh(temperature)",
    "asinh(temperature)", "acosh(temperature + 6)", "atanh(temperature / 6)", "deg(temperature)", "rad(temperature)", "pi()", "time()",
    "timestamp(memory_bytes)", "timestamp(rare)", "timestamp(-memory_bytes)", "vector(1)", "vector(time())", "scalar(memory_bytes)",
    "scalar(flat)", "scalar(limit_bytes{job='api'}) * 2", "absent(nothing_here)", "absent(up)", 'absent(nothing_here{job="a",x=~"b"})',
    'absent(nothing_here{job="a",job="b"})', "absent(sum(nothing_here))", "absent(rare)", "abs(odd)",
    "sort(memory_bytes)", "sort_desc(memory_bytes)", "sort(odd{kind!='zero'})",
    'label_replace(up, "host", "$1", "instance", "(.*):.*")', 'label_replace(up, "host", "$1-$2", "instance", "(.*)-(.*):.*")',
    'label_replace(up, "job", "", "job", ".*")', 'label_replace(up, "x", "${1}y", "instance", "(api).*")',
    'label_replace(up, "x", "$name", "instance", "(?P<name>a.*)")', 'label_replace(up, "instance", "one", "instance", ".*")',
    'label_replace(words, "p", "$1", "path", "/(.)(.*)")', 'label_join(up, "both", "/", "job", "instance")', 'label_join(up, "both", "-", "job", "none")',
    'label_join(up, "job", "", "none")', 'label_replace(up, "__name__", "down", "", "")', 'label_replace(up, "a", "$$1", "job", "(.*)")',
    # dates
    "hour(dates)", "minute(dates)", "day_of_week(dates)", "day_of_month(dates)", "day_of_year(dates)", "days_in_month(dates)", "month(dates)",
    "year(dates)", "hour()", "minute()", "day_of_week()", "day_of_month()", "day_of_year()", "days_in_month()", "month()", "year()",
    "year(vector(time()))",
    # classic histograms
    f"histogram_quantile(0.9, {B})", f"histogram_quantile(0.5, rate({B}[5m]))", f"histogram_quantile(0.99, sum by (le) (rate({B}[5m])))",
    f"histogram_quantile(0.95, sum by (job, le) (rate({B}[10m])))", f"histogram_quantile(0, {B})", f"histogram_quantile(1, {B})",
    f"histogram_quantile(-1, {B})", f"histogram_quantile(2, {B})", f"histogram_quantile(NaN, {B})", "histogram_quantile(0.5, broken_bucket)",
    "histogram_quantile(0.9, broken_bucket)", "histogram_quantile(0.1, broken_bucket)", "histogram_quantile(0.5, up)",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])", f"histogram_quantile(scalar(flat) / 20, {B})",
    f'sum(rate({B}{{le="0.25"}}[5m])) / sum(rate(latency_seconds_count[5m]))', "histogram_quantile(0.5, {__name__=~'latency_seconds_bucket|broken_bucket'})",
    # native histograms
    "histogram_quantile(0.5, rpc_seconds)", "histogram_quantile(0.99, rate(rpc_seconds[5m]))", "histogram_count(rpc_seconds)",
    "histogram_sum(rpc_seconds)", "histogram_fraction(0, 0.5, rpc_seconds)", "histogram_fraction(-Inf, 0.2, rate(rpc_seconds[10m]))",
    "histogram_fraction(0.3, 0.31, rpc_seconds)", "rate(rpc_seconds[5m])", "increase(rpc_seconds[10m])", "sum(rpc_seconds)",
    "histogram_quantile(0.9, sum(rate(rpc_seconds[5m])))", "histogram_count(sum by (job) (increase(rpc_seconds[15m])))",
    "histogram_quantile(0, rpc_seconds)", "histogram_quantile(1, rpc_seconds)", "histogram_quantile(-0.1, rpc_seconds)",
    "histogram_quantile(1.1, rpc_seconds)", "rpc_seconds + rpc_seconds", "rpc_seconds offset 30m", "delta(rpc_seconds[5m])",
    "histogram_sum(rate(rpc_seconds[5m])) / histogram_count(rate(rpc_seconds[5m]))", "count(rpc_seconds)",
    "sum(histogram_count(rpc_seconds))", "histogram_quantile(0.5, sum without (instance) (rpc_seconds))", "rpc_seconds and on (job) rpc_seconds",
    # subqueries
    f"max_over_time(rate({R}[1m])[10m:1m])", f"rate({R}[5m:30s])", "avg_over_time(memory_bytes[10m:])", "sum_over_time(up[5m:1m])",
    f"sum_over_time(sum({R})[5m:45s])", "quantile_over_time(0.5, (memory_bytes / 2)[10m:77s])", "max_over_time(time()[5m:1m])",
    "last_over_time(up[5m:1m] offset 10m)", "count_over_time(up[5m:1m] @ 1700001810)", "min_over_time(min_over_time(memory_bytes[2m])[6m:2m])",
    "deriv(rate(latency_seconds_count[2m])[10m:30s])", "absent_over_time(nothing_here[5m:1m])", "increase(ramp[5m:15s])",
    "max_over_time((up == 0)[30m:1m])", "sum_over_time(vector(1)[10m:1m])", "avg_over_time(temperature[10m:1m] offset -5m)",
    "max_over_time(up[10m:1m] @ end())", "count_over_time((rare > 1)[20m:10s])", "sum_over_time(memory_bytes[5m:1m] @ start() offset 1m)",
    "histogram_count(rate(rpc_seconds[10m:1m]))", "delta(temperature[3m:15s])", "present_over_time(rare[15m:5m])",
]  # fmt: skip

INSTANT_ONLY = [
    "up[1m]", "rare[20m]", "ramp[1m] offset 1m", "up[5m:1m]", "(up * 2)[3m:1m]", '"text"', "rpc_seconds[1m]",
    f'{R}{{instance="web-1:8080"}}[40m]', "memory_bytes[1m] @ 1700001810",
]  # fmt: skip

REFUSED = [
    "sum(", "foo +", "rate(up)", "up[5m] + 1", "up{job=api}", "1 > 2", "topk(up)", "nope(up)", "up offset", "abs(1)", "{}", '{job=~".*"}',
    'up{job="a"', "sum(up) by", "up @ x", "up and 1", "1 and 1", "up + on (job) group_left(", "-'a'", "up[5m", "up[0s]", "'a' + 1",
    "label_replace(up, 'a', 'b', 'c', '(')", "label_replace(up, '~', 'b', 'job', '.*')", "count_values('~', up)",
    "rate(up[5m])[5m]", "holt_winters(up[5m], 2, 0.5)", "topk(NaN, up)", "label_join(up, 'x y', '', 'job')", "(up", "up)", "up{,}",
]  # fmt: skip

NEAR, MIDDLE, LATE = BEGIN + 600_000, BEGIN + 1_800_000, END - 7_000


def questions() -> list[Question]:
    """All of them."""
    made = []
    for at, query in enumerate(BOTH):
        made.append(Question(query, MIDDLE, MIDDLE))
        made.append(Question(query, (NEAR, LATE)[at % 2], (NEAR, LATE)[at % 2]))
        made.append(Question(query, BEGIN - 60_000, END + 400_000, 333_000))
    made += [Question(query, MIDDLE, MIDDLE) for query in (*INSTANT_ONLY, *REFUSED)]
    made += [Question(query, BEGIN + 1_410_000, BEGIN + 1_600_000, 15_000) for query in BOTH[::4]]
    return made
