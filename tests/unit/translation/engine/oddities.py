"""Every place of a JSON value, each without what it has, or with something else in it."""

import json
import re
from collections.abc import Iterator
from typing import Any

REMOVED: Any = object()
ODD: tuple[Any, ...] = (
    REMOVED, None, "", "x", 0, -1, 7, 0.5, 10**30, True, [], ["x"], [None], [{}], {}, {"type": "x"},
    {"type": 5},
)  # fmt: skip
Place = tuple[str | int, ...]
_STEPS = re.compile(r"[^.\[\]]+|\[\d+\]")


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in members:
        yield (*path, name)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, name))


def with_it(value: Any, path: Place, odd: Any) -> Any:
    """The value, with the odd thing in that place."""
    copied = json.loads(json.dumps(value))
    holder = copied
    for name in path[:-1]:
        holder = holder[name]
    if odd is REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = odd
    return copied


def has(body: Any, path: str, *, may_lack_last: bool) -> bool:
    """Whether the body has that path, such as `messages[0].content`."""
    steps = [int(step[1:-1]) if step.startswith("[") else step for step in _STEPS.findall(path)]
    for place, step in enumerate(steps):
        if isinstance(step, int):
            if not isinstance(body, list) or step >= len(body):
                return False
        elif not isinstance(body, dict) or step not in body:
            # A member that is missing is named by where it should be.
            return may_lack_last and isinstance(body, dict) and place == len(steps) - 1
        body = body[step]
    return bool(steps)
