"""Found by gunicorn because it lies here: one process, many threads, so an order that waits holds up nobody."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = 1
threads = 32  # an order in progress, or a customer watching one, holds a thread
keepalive = 75  # seconds; longer than a proxy keeps an idle connection, so it never meets a closed one
timeout = 30  # seconds without a sign of life before the worker is replaced
graceful_timeout = 10  # seconds for requests in flight when told to stop
control_socket_disable = True
loglevel = "warning"  # the request log is in app.py
