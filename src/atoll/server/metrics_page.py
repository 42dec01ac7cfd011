"""docs/metrics.md, made from the definitions: `python -m atoll.server.metrics_page > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields

from atoll.server.metrics import TABLE
from atoll.settings import Watchdog

HEAD = """# What atoll tells about itself

*Made from the definitions by `python -m atoll.server.metrics_page > docs/metrics.md`; a test keeps it current.*

`GET /metrics` of the control plane answers in Prometheus' text format. It needs the token, as everything does:

```sh
curl -H "Authorization: Bearer $(cat .atoll/token)" http://127.0.0.1:7070/metrics
```

```yaml
scrape_configs:
  - job_name: atoll
    authorization: {type: Bearer, credentials_file: /path/of/the/project/.atoll/token}
    static_configs: [{targets: ["127.0.0.1:7070"]}]
```

The control plane answers for all: nodes send their numbers, and those of their gateway, with the report that they make
every second. A number of a node that fell silent stays as it was; `atoll_node_report_age_seconds` tells how old it is.
Counters start at 0 with the process that counts. `atoll doctor` reads the same numbers and says what to do.

Worth an alert:

| expression | meaning |
|---|---|
| `atoll_node_report_age_seconds > 15` | the node is dead, hangs, or cannot reach the control plane |
| `atoll_node_facts_age_seconds > 30` | the node goes on with old facts |
| `atoll_gateway_last_good_age_seconds > 30` | HAProxy does not run what is wanted, and has not for half a minute |
| `increase(atoll_loop_blocked_total[10m]) > 0` | something blocks an event loop; the process's log names task and line |
| `atoll_holds > 0 or atoll_quarantined_records > 0` | nothing expires; records cannot be read |
| `atoll_children{phase="crash-loop"} > 0` | an instance does not stay up |
| `increase(atoll_api_refusals_total{code="internal"}[10m]) > 0` | a fault in atoll: please report it |

## The watchdog

In the node and in the control plane a thread looks whether the event loop still turns. When it does not for
`ATOLL_WATCHDOG_LIMIT` seconds, one line in the log (`the event loop is blocked`) names the task and the top of its
stack, it is counted, and `atoll doctor` and `/api/v1/status` say `degraded`. A process that was stopped as a whole
(SIGSTOP, a suspended laptop) does not count.

| setting | default | |
|---|---|---|
"""
TABLE_HEAD = """
## Metrics

| metric | type | unit | labels | |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole document."""
    return HEAD + "".join(_settings()) + TABLE_HEAD + "".join(_rows())


def _settings() -> Iterator[str]:
    said = {
        "limit": "Seconds without a sign of life that count as blocked; 0 switches the watchdog off.",
        "quiet": "Seconds after an episode until the process no longer calls itself degraded.",
    }
    for knob in fields(Watchdog):
        yield f"| `ATOLL_WATCHDOG_{knob.name.upper()}` | {knob.default:g} | {said[knob.name]} |\n"


def _rows() -> Iterator[str]:
    for metric in TABLE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
