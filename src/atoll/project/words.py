"""How single values of `atoll.yaml` are read: durations, ports, commands, and the short forms of maps.

Each function gives a pydantic marker that runs before the type itself is checked and tells the JSON Schema what may be
written. They accept what a filled-in variable may look like (`replicas: ${N:-2}`), and nothing else than they say.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic reads the standard one only from 3.12 on

from atoll.model.checked import ARGUMENTS_LIMIT
from atoll.model.retry import METHODS, REASONS, STATUSES
from atoll.project.node import Filled, core, written

_DURATION = r"^(\d+(\.\d+)?(h|ms|us|ns|m|s))+$|^0$"
_AGE = r"^\d{1,5}(\.\d{1,3})?[hd]$"
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
DURATION_TEXT_LIMIT = 40
PERCENT_DIGITS = 3
STATUSES_LIMIT = 64

DurationText = Annotated[str, Field(pattern=_DURATION, examples=["5s", "200ms", "1m", "1h30m"])] | Literal[0]
PortText = Literal["auto", "none"] | Annotated[int, Field(ge=1, le=65535)]
TextOrNumber = str | int | float | bool


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_type", "{said}", {"said": message})


def _invalid(message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("invalid_value", "{said}", {"said": message, "hint": hint})


def truth() -> BeforeValidator:
    """True or false, which a filled-in variable may spell out."""
    return BeforeValidator(lambda raw: core(raw) if isinstance(raw, Filled) else raw, json_schema_input_type=bool)


def whole(least: int, most: int) -> BeforeValidator:
    """A whole number from `least` to `most`."""

    def check(raw: Any) -> int:
        value = core(raw) if isinstance(raw, Filled) else raw
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong("should be a whole number")
        if not least <= value <= most:
            raise _invalid(f"should be a whole number from {least} to {most}")
        return int(value)

    return BeforeValidator(check, json_schema_input_type=Annotated[int, Field(ge=least, le=most)])


def percent(least: int = 1) -> BeforeValidator:
    """A share, written `50%`, or `50`."""

    def check(raw: Any) -> int:
        said = written(raw)
        digits = said.removesuffix("%") if isinstance(said, str) else ""
        if not (
            digits.isascii() and digits.isdigit() and len(digits) <= PERCENT_DIGITS and least <= int(digits) <= 100
        ):
            raise _invalid(f"should be a share from {least}% to 100%", "write it as 50%")
        return int(digits)

    digit = "[1-9]" if least else "[0-9]"
    share = Annotated[str, Field(pattern=rf"^({digit}|[1-9][0-9]|100)%$", examples=["50%"])]
    return BeforeValidator(check, json_schema_input_type=share | Annotated[int, Field(ge=least, le=100)])


def retry_reason() -> BeforeValidator:
    """After what a request is sent again: a word, or a status."""
    numbers = Annotated[int, Field(json_schema_extra={"enum": [*STATUSES]})]

    def check(raw: Any) -> str:
        value = core(raw) if isinstance(raw, Filled) else raw
        if isinstance(value, bool) or str(value) not in REASONS:
            raise _invalid(f"should be one of {', '.join(REASONS)}")
        return str(value)

    return BeforeValidator(check, json_schema_input_type=Literal[REASONS] | numbers)


def retry_method() -> BeforeValidator:
    """A method, in upper or lower case."""

    def check(raw: Any) -> str:
        value = written(raw)
        if not isinstance(value, str) or value.upper() not in METHODS:
            raise _invalid(f"should be one of {', '.join(METHODS)}")
        return value.upper()

    return BeforeValidator(check, json_schema_input_type=Literal[METHODS])


def statuses() -> BeforeValidator:
    """Statuses as words and numbers, in a list or alone; read as text. Which there are is the model's to say."""

    def check(raw: Any) -> list[str]:
        found = raw if isinstance(raw, list) else [raw]
        if len(found) > STATUSES_LIMIT:
            raise _invalid(f"has {len(found)} statuses, the limit is {STATUSES_LIMIT}")
        return [str(core(each) if isinstance(each, Filled) else each) for each in found]

    status = Literal["4xx", "5xx", "timeout"] | Annotated[int, Field(ge=400, le=599)]
    return BeforeValidator(check, json_schema_input_type=list[status] | status)


def text_or_truth() -> BeforeValidator:
    """Text, or true."""

    def check(raw: Any) -> str | bool:
        value = core(raw) if isinstance(raw, Filled) else raw
        if not isinstance(value, str | bool):
            raise _wrong("should be text, or true")
        return value

    return BeforeValidator(check, json_schema_input_type=str | bool)


BalanceWord = Literal["least_connections", "round_robin", "random", "hash"]
HashOn = Annotated[str, Field(pattern=r"^(client_ip|path|header:[A-Za-z0-9-]{1,63})$")]


def balance() -> BeforeValidator:
    """One of the four words, or `{hash: KEY}`; read as (word, key)."""

    def check(raw: Any) -> tuple[str, str]:
        if isinstance(raw, dict) and set(raw) == {"hash"}:
            on = raw["hash"]
            if isinstance(on, str) and re.fullmatch(r"client_ip|path|header:[A-Za-z0-9-]{1,63}", on):
                return "hash", on.lower()
            raise _invalid("should hash client_ip, path or header:NAME", "for example {hash: header:X-User}")
        if raw in get_args(BalanceWord):
            return str(raw), "client_ip"
        known = ", ".join(get_args(BalanceWord))
        raise _invalid(f"should be one of {known}, or {{hash: KEY}}", f"words are: {known}")

    return BeforeValidator(check, json_schema_input_type=BalanceWord | HashMap)


class HashMap(TypedDict):
    """`{hash: header:X-User}`."""

    hash: HashOn


Signal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"]


def signal() -> BeforeValidator:
    """A signal by name, with or without SIG."""

    def check(raw: Any) -> Any:
        return raw if not isinstance(raw, str) or raw.startswith("SIG") else f"SIG{raw}"

    short = tuple(name.removeprefix("SIG") for name in get_args(Signal))
    return BeforeValidator(check, json_schema_input_type=Literal[(*get_args(Signal), *short)])


def text() -> BeforeValidator:
    """Text; numbers and truth values count as they were written (`1.10` stays `1.10`)."""
    return BeforeValidator(written, json_schema_input_type=TextOrNumber | None)


def duration(*, least: float, most: float) -> BeforeValidator:
    """A duration in seconds, written `5s`, `200ms`, `1m30s`; `least` and `most` are its bounds in seconds."""

    def check(raw: Any) -> float:
        said = written(raw)
        if said == "0" and least == 0:
            return 0.0
        if not isinstance(said, str) or len(said) > DURATION_TEXT_LIMIT or not re.fullmatch(_DURATION, said):
            unit = isinstance(raw, int | float) and not isinstance(raw, bool)
            raise _invalid("should be a duration", f"write `{said}s` for seconds" if unit else "such as 5s, 200ms, 1m")
        seconds = sum(float(count) * _SECONDS[name] for count, name in _PIECE.findall(said))
        if not least <= seconds <= most:
            raise _invalid(f"should be between {least:g}s and {most:g}s")
        return seconds

    return BeforeValidator(check, json_schema_input_type=DurationText)


def days(*, most: float) -> BeforeValidator:
    """An age in days, written `3d`, `36h`; `most` is its bound in days."""

    def check(raw: Any) -> float:
        said = written(raw)
        if not isinstance(said, str) or len(said) > DURATION_TEXT_LIMIT or not re.fullmatch(_AGE, said):
            number = isinstance(raw, int | float) and not isinstance(raw, bool)
            raise _invalid("should be an age", f"write `{said}d` for days" if number else "such as 3d, 36h")
        found = float(said[:-1]) / (24 if said.endswith("h") else 1)
        if not 1 / 24 <= found <= most:
            raise _invalid(f"should be between 1h and {most:g}d")
        return found

    return BeforeValidator(check, json_schema_input_type=Annotated[str, Field(pattern=_AGE, examples=["3d", "36h"])])


def share() -> BeforeValidator:
    """A share from 0 to 1."""

    def check(raw: Any) -> float:
        value = core(raw) if isinstance(raw, Filled) else raw
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _invalid("should be a share from 0 to 1", "0.1 is every tenth")
        return float(value)

    return BeforeValidator(check, json_schema_input_type=Annotated[float, Field(ge=0, le=1)])


def port() -> BeforeValidator:
    """`auto` is 0, `none` is None, a number is itself."""

    def check(raw: Any) -> int | None:
        value = core(raw) if isinstance(raw, Filled) else raw
        if value == "auto":
            return 0
        if value == "none":
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
            return int(value)
        raise _invalid("should be auto, none, or a port from 1 to 65535", "auto gives a free port in $PORT")

    return BeforeValidator(check, json_schema_input_type=PortText)


def command() -> BeforeValidator:
    """Text, or a list of text; numbers in the list count as written."""

    def check(raw: Any) -> str | list[str]:
        if isinstance(raw, str):
            if not raw.strip():
                raise _invalid("should name a program")
            return str(raw)
        if not isinstance(raw, list):
            raise _wrong("should be text, or a list of arguments")
        items = [written(item) for item in raw]
        if not items or items[0] == "":
            raise _invalid("should name a program")
        if len(items) > ARGUMENTS_LIMIT:
            raise _invalid(f"should have at most {ARGUMENTS_LIMIT} arguments")
        if not all(isinstance(item, str) for item in items):
            raise _wrong("should be a list of text")
        return [str(item) for item in items]

    return BeforeValidator(check, json_schema_input_type=str | list[TextOrNumber])


def condition() -> BeforeValidator:
    """Our words, or compose's."""
    compose = {
        "service_started": "started",
        "service_healthy": "healthy",
        "service_completed_successfully": "completed",
    }
    said = Literal[
        "started", "healthy", "completed", "service_started", "service_healthy", "service_completed_successfully"
    ]
    return BeforeValidator(
        lambda raw: compose.get(raw, raw) if isinstance(raw, str) else raw, json_schema_input_type=said
    )


def dependencies(dependency: Any) -> BeforeValidator:
    """A list of names, or a map from name to condition."""

    def check(raw: Any) -> Any:
        if isinstance(raw, list):
            if not all(isinstance(item, str) for item in raw):
                raise _wrong("should be a list of service names")
            return {str(item): {} for item in raw}
        if isinstance(raw, dict):
            return {name: {} if value is None else value for name, value in raw.items()}
        raise _wrong("should be a list of service names, or a map")

    return BeforeValidator(check, json_schema_input_type=list[str] | dict[str, dependency | None])


def environment() -> BeforeValidator:
    """A map, or a list of `NAME=value`."""

    def check(raw: Any) -> Any:
        if isinstance(raw, dict):
            return raw
        if not isinstance(raw, list):
            raise _wrong("should be a map, or a list of NAME=value")
        pairs: dict[str, str | None] = {}
        for item in raw:
            if not isinstance(item, str):
                raise _wrong("should be a list of NAME=value")
            name, equals, value = item.partition("=")
            pairs[name] = value if equals else None
        return pairs

    return BeforeValidator(check, json_schema_input_type=dict[str, TextOrNumber | None] | list[str])


def env_files(file: Any) -> BeforeValidator:
    """A path, or a list of paths or of `{path, required}`."""

    def check(raw: Any) -> Any:
        items = raw if isinstance(raw, list) else [raw]
        if not all(isinstance(item, str | dict) for item in items):
            raise _wrong("should be a path, or a list of paths")
        return [{"path": item} if isinstance(item, str) else item for item in items]

    return BeforeValidator(check, json_schema_input_type=str | list[str | file])


def switchable(part: Any) -> BeforeValidator:
    """A map; true or false stands for one with `enabled`."""

    def check(raw: Any) -> Any:
        value = core(raw) if isinstance(raw, Filled) else raw
        if isinstance(value, bool):
            return {"enabled": value}
        if not isinstance(raw, dict):
            raise _wrong("should be true, false or a map")
        return raw

    return BeforeValidator(check, json_schema_input_type=bool | part)


def short(key: str, part: Any) -> BeforeValidator:
    """A map; text or a number alone stands for one with nothing but `key`."""

    def check(raw: Any) -> Any:
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            return {key: raw}
        if not isinstance(raw, dict):
            raise _wrong(f"should be a map, or its `{key}`")
        return raw

    return BeforeValidator(check, json_schema_input_type=TextOrNumber | part)


def word_list() -> BeforeValidator:
    """A list of words; numbers count as written, one word alone as a list of it."""

    def check(raw: Any) -> Any:
        items = [written(item) for item in (raw if isinstance(raw, list) else [raw])]
        if not all(isinstance(item, str) for item in items):
            raise _wrong("should be a list of words")
        return [str(item) for item in items]

    return BeforeValidator(check, json_schema_input_type=list[TextOrNumber] | TextOrNumber)


def shorthand(service: Any) -> BeforeValidator:
    """A service written as its command alone."""

    def check(raw: Any) -> Any:
        if isinstance(raw, str):
            return {"command": raw}
        if raw is None or raw == {}:
            raise _invalid("should say how the service runs", "give it a command")
        if not isinstance(raw, dict):
            raise _wrong("should be a map, or the command as text")
        return raw

    return BeforeValidator(check, json_schema_input_type=str | service)
