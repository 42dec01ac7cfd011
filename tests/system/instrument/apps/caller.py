"""Ends soon after a call, or many: what was sent must not hold it up."""

import logging
import sys
import urllib.request

log = logging.getLogger("caller")
for number in range(int(sys.argv[2])):
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/healthz").read()
    log.warning("call %d", number)
