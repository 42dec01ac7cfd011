"""atoll: run your microservices with a registry, a gateway and supervision. One pip install, one file, one command."""

from __future__ import annotations

__version__ = "0.1.0"
