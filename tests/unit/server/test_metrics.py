from __future__ import annotations

from pathlib import Path

from atoll.server import metrics_page
from atoll.server.metrics import TABLE

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_about_metrics_is_current() -> None:
    assert DOCS.read_text() == metrics_page.page(), "run: python -m atoll.server.metrics_page > docs/metrics.md"


def test_every_metric_stands_on_the_page_and_has_a_name_of_its_own() -> None:
    names = [metric.name for metric in TABLE]
    assert len(names) == len(set(names))
    text = DOCS.read_text()
    for name in names:
        assert f"| `{name}` |" in text


def test_every_metric_that_the_page_speaks_of_exists() -> None:
    import re

    assert set(re.findall(r"atoll_[a-z_]+", DOCS.read_text())) <= {metric.name for metric in TABLE}
