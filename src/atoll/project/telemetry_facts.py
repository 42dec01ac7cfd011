"""What the file says of telemetry as a whole: words for the platform that starts, and services to scrape."""

from __future__ import annotations

import msgspec

from atoll.kit.text import closest, scrub
from atoll.project import schema
from atoll.project.facts import Facts
from atoll.project.finding import Code, Finding, Path


class TelemetryWords(msgspec.Struct, frozen=True, kw_only=True):
    """What the project says of telemetry as a whole; None: the settings decide."""

    traces_days: float | None = None
    kept_days: float | None = None
    logs_days: float | None = None
    metrics_days: float | None = None
    sampling: float | None = None
    keep_errors: bool | None = None


def scraped_services(root: schema.Root, facts: Facts) -> dict[str, schema.Service]:
    """The services that the list `telemetry.scrape` names, as if they said it themselves."""
    found: dict[str, schema.Service] = {}
    for index, item in enumerate(root.telemetry.scrape):
        here: Path = ("telemetry", "scrape", index, "service")
        service = root.services.get(item.service)
        shown = scrub(item.service, limit=80)
        if service is None:
            facts.findings.append(
                Finding(
                    code=Code.UNKNOWN_REFERENCE,
                    message=f"no service is called `{shown}`",
                    path=here,
                    suggestion=closest(item.service, root.services) or "",
                )
            )
        elif service.scrape is not None or item.service in found:
            message = f"what is scraped of `{shown}` is said twice"
            hint = "say it in this list, or in the service"
            facts.findings.append(Finding(code=Code.INVALID_VALUE, message=message, path=here, hint=hint))
        else:
            facts.scraped[item.service] = index
            found[item.service] = service.model_copy(update={"scrape": item})
    return found


def telemetry_words(said: schema.Telemetry) -> TelemetryWords:
    """What is to go before the settings' defaults."""
    kept = said.retention
    return TelemetryWords(
        traces_days=kept.traces,
        kept_days=kept.kept,
        logs_days=kept.logs,
        metrics_days=kept.metrics,
        sampling=said.sampling.traces,
        keep_errors=said.sampling.keep_errors,
    )
