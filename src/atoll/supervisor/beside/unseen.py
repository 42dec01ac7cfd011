"""Libraries whose calls have no spans here: told once by each process that uses one, so that `atoll doctor` can say so."""

import time
from types import ModuleType

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outbox import Outbox

MODULES = (
    "aiokafka", "aio_pika", "arq", "asyncmy", "asyncpg", "botocore", "cassandra", "confluent_kafka", "dramatiq",
    "elasticsearch", "grpclib", "huey", "kafka", "MySQLdb", "mysql.connector", "nats", "opensearchpy", "pika", "psycopg2",
    "pymemcache", "pymongo", "pymysql", "rq", "sanic", "taskiq", "tornado.web",
)  # fmt: skip
"""What people use to talk to something else, or to be talked to."""
ATTRIBUTE = "atoll.unseen"
DEBUG = 5

_waiting: list[str] = []
_outbox: "Outbox | None" = None


def used(name: str, _: ModuleType) -> None:
    """The app imported it."""
    _waiting.append(name)
    _tell()


def tell_to(outbox: "Outbox") -> None:
    """From now on there is somebody to tell: a process that sends nothing else does not begin for this."""
    global _outbox
    _outbox = outbox
    _tell()


def _tell() -> None:
    while _outbox is not None and _waiting:
        name = _waiting.pop()
        text = f"this service uses {name}: its calls have no spans"
        _outbox.put_line(
            wire.Line(time.time_ns(), wire.Scope("atoll"), text, DEBUG, "DEBUG", attributes={ATTRIBUTE: name})
        )
