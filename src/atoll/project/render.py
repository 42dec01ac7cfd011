"""A plan as text: `+` created, `~` changed, `-` deleted, field by field. Values that look like passwords are hidden."""

from __future__ import annotations

import json
import re
import shlex

from atoll.kit.text import scrub
from atoll.model.project import FieldChange, Plan, Step, Verb

SIGNS = {Verb.CREATE: "+", Verb.CHANGE: "~", Verb.DELETE: "-"}
VALUE_LIMIT = 200
"""Characters of one shown value."""
_SENSITIVE = re.compile(r"environment\..*(PASS|SECRET|TOKEN|KEY|CREDENTIAL|DSN|AUTH)", re.IGNORECASE)
_USERINFO = re.compile(r"://[^/@\s]*@")


def render_plan(plan: Plan) -> str:
    """The plan for people, ending with a summary line; no trailing line break."""
    if not plan.steps:
        return "nothing to change"
    lines = [line for step in plan.steps for line in _step(step)]
    counts = {verb: sum(step.verb is verb for step in plan.steps) for verb in Verb}
    summary = ", ".join(f"{count} to {verb.value}" for verb, count in counts.items() if count)
    return "\n".join([*lines, "", f"plan: {summary}"])


def _step(step: Step) -> list[str]:
    folder, _, name = step.key.partition("/")
    sign = SIGNS[step.verb]
    lines = [f"{sign} {folder.removesuffix('s')} {scrub(name)}"]
    for field in step.fields:
        path = scrub(field.path.removeprefix("run."))
        if step.verb is Verb.CREATE:
            value = "none" if field.after is None else _value(field, field.after)
            lines.append(f"  {sign} {path}: {value}")
        else:
            lines.append(f"  {sign} {path}: {_value(field, field.before)} → {_value(field, field.after)}")
    return lines


def _value(field: FieldChange, value: object) -> str:
    if value is None:
        return "(unset)"
    if _SENSITIVE.search(field.path) or (".environment." in field.path and _USERINFO.search(str(value))):
        return "(hidden)"
    if isinstance(value, list | tuple):
        if field.path == "run.command":
            return scrub(shlex.join(map(str, value)), limit=VALUE_LIMIT)
        return scrub(json.dumps(value, ensure_ascii=False), limit=VALUE_LIMIT)
    if isinstance(value, bool):
        return str(value).lower()
    return scrub(str(value), limit=VALUE_LIMIT)
