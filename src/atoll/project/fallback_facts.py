"""What the file says of fallbacks and of the gateway's own errors, as facts: files read, maps and lists as JSON."""

from __future__ import annotations

import json
import mimetypes
from typing import Any

from atoll.kit.text import scrub
from atoll.model.fallback import MADE, USUAL, Fallback, LastGood, Other
from atoll.model.names import HeaderName, ServiceName
from atoll.model.page import BODY_LIMIT, TEXT, Page
from atoll.project import schema
from atoll.project.facts import Facts, Surroundings
from atoll.project.finding import Code, Finding, Path
from atoll.project.node import written
from atoll.project.shape import item_of

JSON = "application/json"


def fallback_of(said: schema.Fallback | None, here: Path, facts: Facts, around: Surroundings) -> Fallback | None:
    """The fallback at `here`; one that is switched off gives nothing."""
    if said is None:
        return None
    if not said.enabled:
        return Fallback()
    if said.static is None and said.service is None and said.last_good is None and around.complete(item_of(here)):
        message = "a fallback without anything to give"
        hint = "give it `static`, `service` or `last_good`, or say `false`"
        facts.findings.append(Finding(code=Code.MISSING_KEY, message=message, path=here, hint=hint))
    other = said.service
    return Fallback(
        on=USUAL if said.on is None else tuple(dict.fromkeys(said.on)),
        static=None
        if said.static is None
        else _page(said.static, said.static.status, (*here, "static"), facts, around),
        service=None
        if other is None
        else Other(service=ServiceName(other.service), path=other.path or "", timeout=other.timeout),
        last_good=None if said.last_good is None else LastGood(max_age=said.last_good.max_age),
    )


def errors_of(
    said: dict[str, schema.ErrorPage], here: Path, facts: Facts, around: Surroundings
) -> dict[str, Page] | None:
    """The pages at `here`, by status; None: nothing is said."""
    pages = {
        key: _page(page, int(key) if key in MADE else 0, (*here, key), facts, around) for key, page in said.items()
    }
    return pages or None


def _page(said: schema.ErrorPage, status: int, here: Path, facts: Facts, around: Surroundings) -> Page:
    body, kind = _body(said.body, here, facts)
    if said.file is not None:
        if said.body is not None:
            message = "`body` and `file` exclude each other"
            facts.findings.append(Finding(code=Code.EXCLUSIVE, message=message, path=(*here, "file"), hint="keep one"))
        body, kind = _file(said.file, (*here, "file"), facts, around)
    headers = {HeaderName(name.lower()): value for name, value in said.headers.items()}
    return Page(status=status, body=body, content_type=said.content_type or kind, headers=headers)


def _body(said: Any, here: Path, facts: Facts) -> tuple[str, str]:
    if isinstance(said, dict | list):
        try:
            return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")), JSON
        except ValueError:
            message = "`body` holds a number that JSON does not know"
            facts.findings.append(Finding(code=Code.INVALID_VALUE, message=message, path=(*here, "body")))
    return "" if said is None else str(written(said)), TEXT


def _file(name: str, here: Path, facts: Facts, around: Surroundings) -> tuple[str, str]:
    guessed = mimetypes.guess_type(name)[0] or "text/plain"
    kind = f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
    shown = scrub(name, limit=200)
    hint = ""
    try:
        text = around.read(around.folder / name)
        if len(text) <= BODY_LIMIT:
            return text, kind
        message = f"file `{shown}` has more than {BODY_LIMIT} bytes"
        hint = "a larger answer is for a service to give: `fallback: {service: …}`"
    except FileNotFoundError:
        message, hint = f"file `{shown}` does not exist", f"looked for {scrub(str(around.folder / name), limit=200)}"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text (UTF-8)"
        message = f"file `{shown}` cannot be read: {scrub(reason, limit=200)}"
    facts.findings.append(Finding(code=Code.INVALID_VALUE, message=message, path=here, hint=hint))
    return "", kind
