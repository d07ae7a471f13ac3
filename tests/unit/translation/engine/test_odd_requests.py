"""Whatever stands anywhere in a body: it is served, or refused by a path that the body has."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from hypothesis import settings

from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import BASES, Body, all_pairs
from tests.unit.translation.coverage.test_misshapen import BODIES
from tests.unit.translation.engine.calls import body_of, translation
from tests.unit.translation.engine.oddities import ODD, has, places, with_it

SEED = 20_261_129
CASES = 30 * settings().max_examples
SERVED = "served"
REFUSED = "refused"
TARGETS: tuple[tuple[str, ClientFormat], ...] = (
    ("gpt-4.1", "chat"),
    ("gpt-5.4", "chat"),
    ("gpt-5-mini", "responses"),
    ("claude-sonnet-4-5", "messages"),
    ("claude-opus-4-7", "messages"),
    ("hosted_vllm/qwen", "chat"),
)
# Words of Python's and of the decoder's, which tell a client nothing.
_FOREIGN_WORDS = re.compile(
    r"has no attribute|NoneType|msgspec|<class|Raw\(|Expected|Object |codec|`\$|"
    r"\b(str|int|dict|bool|float|None|array)\b"
)


@cache
def _bodies() -> dict[ClientFormat, list[Body]]:
    bodies: dict[ClientFormat, list[Body]] = {client: [BODIES[client]] * 50 for client in BASES}
    for pair in all_pairs():
        bodies[pair.client].append(pair.with_it)
    return bodies


def cases(seed: int, count: int) -> Iterator[tuple[str, ClientFormat, Body]]:
    """What was changed, and the body with it."""
    chance = random.Random(seed)
    for _ in range(count):
        client = chance.choice(tuple(BASES))
        body = chance.choice(_bodies()[client])
        place = chance.choice(list(places(body)))
        odd = chance.choice(ODD)
        yield f"{client} {place}: {odd!r}", client, with_it(body, place, odd)


def fault(client: ClientFormat, body: Body, name: str, to: ClientFormat, *, drops: bool) -> str:
    """What is wrong with how it is served or refused, else which of both it was."""
    try:
        sent = translation(client, body, name, to, drops=drops)
        body_of(sent)
    except InvalidRequest as error:
        path = error.param or ""
        if not error.message.startswith(path) or not has(body, path, may_lack_last=True):
            return f"{path!r} is not in the body: {error.message}"
        if _FOREIGN_WORDS.search(error.message.replace(path, "")):
            return f"foreign words: {error.message}"
        return REFUSED
    changed_paths = (*sent.report.dropped_params, *sent.report.adapted_params)
    strays = [path for path in changed_paths if not has(body, path, may_lack_last=False)]
    return f"not in the body: {strays}" if strays else SERVED


def test_odd_bodies() -> None:
    chance = random.Random(SEED)
    faults: dict[str, str] = {}
    outcomes = Counter[str]()
    for what, client, body in cases(SEED, CASES):
        name, to = chance.choice(TARGETS)
        try:
            found = fault(client, body, name, to, drops=chance.random() < 0.5)
        except Exception as error:
            error.add_note(f"{what} to {name}")
            raise
        outcomes[found] += 1
        if found not in (SERVED, REFUSED):
            faults[f"{what} to {name}"] = found
    assert faults == {}
    assert min(outcomes[SERVED], outcomes[REFUSED]) > CASES / 10
