"""One module for each way of printing a log line; `telemetry.logs.parse` asks them."""
