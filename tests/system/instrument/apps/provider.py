"""An app that sets up OpenTelemetry itself, with an exporter of its own, and makes calls."""

import json
import sys
import urllib.request

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept = InMemorySpanExporter()
provider = TracerProvider(resource=Resource({}))
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
with trace.get_tracer("mine").start_as_current_span("work"):
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/healthz")
print(json.dumps(sorted(span.name for span in kept.get_finished_spans())))
