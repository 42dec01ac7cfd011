"""Builds processes out of parts: the only package that knows everybody.

`platform.run_platform` is what `atoll up` runs; `atoll.server.serve` is all of `atoll server`.
"""
