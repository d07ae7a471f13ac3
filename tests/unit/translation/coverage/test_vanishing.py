"""Named or carried: no member of the SDKs' request types vanishes in a translation.

Every member of every part, item, tool and field is sent once, beside the same body without it. A
new SDK whose types have more is tried with them at once.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import msgspec
import pytest

from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import BASES, Body, Pair, all_pairs
from tests.unit.translation.coverage.left_out import LEFT_OUT
from tests.unit.translation.mender.calls import Sent, mend_body

TARGETS: tuple[tuple[str, ClientFormat], ...] = (
    ("gpt-4.1", "chat"),
    ("gpt-5-mini", "responses"),
    ("claude-sonnet-4-6", "messages"),
    ("hosted_vllm/qwen", "chat"),
)
ROADS = [
    pytest.param(client, name, to, id=f"{client}-{name}")
    for client in BASES
    for name, to in TARGETS
    if client != to
]
# As paths of refusals begin in each format.
_FIRST = re.compile(r"[a-z_]+")


@cache
def pairs() -> tuple[Pair, ...]:
    return tuple(all_pairs())


Outcome = Sent | str


def outcome(client: ClientFormat, body: Body, name: str, to: ClientFormat) -> Outcome:
    """What is sent, or the path of what is refused. Anything else is a fault of ours."""
    try:
        return mend_body(client, body, name, to, drops=True)
    except InvalidRequest as error:
        return error.param or ""


@cache
def outcomes(
    client: ClientFormat, name: str, to: ClientFormat
) -> tuple[tuple[Pair, Outcome, Outcome], ...]:
    """Of each pair, with and without what it is about."""
    known: dict[bytes, Outcome] = {}

    def outcome_of(body: Body) -> Outcome:
        key = msgspec.json.encode(body)
        if key not in known:
            known[key] = outcome(client, body, name, to)
        return known[key]

    found = (pair for pair in pairs() if pair.client == client)
    return tuple((pair, outcome_of(pair.with_it), outcome_of(pair.without)) for pair in found)


def silent(client: ClientFormat, name: str, to: ClientFormat) -> Iterator[str]:
    """What makes no difference: not to the body, nor to what is named as changed."""
    for pair, with_it, without in outcomes(client, name, to):
        if isinstance(with_it, str) or with_it != without:
            continue
        # What has been left out with all that is in it needs no more words.
        if not any(_first(dropped) == _first(pair.path) for dropped in with_it.dropped):
            yield str(pair)


def _first(path: str) -> str:
    found = _FIRST.match(path)
    return "" if found is None else found[0]


@pytest.mark.parametrize(("client", "name", "to"), ROADS)
def test_nothing_vanishes(client: ClientFormat, name: str, to: ClientFormat) -> None:
    vanished = [
        path for path in silent(client, name, to) if not any(p.search(path) for p in LEFT_OUT)
    ]
    assert vanished == []


def test_nothing_is_excused_in_vain() -> None:
    found = {path for road in ROADS for path in silent(*road.values)}  # type: ignore[arg-type]
    idle = [p.pattern for p in LEFT_OUT if not any(p.search(path) for path in found)]
    assert idle == []


@pytest.mark.parametrize(("client", "name", "to"), ROADS)
def test_refusals_name_a_place_in_the_body(
    client: ClientFormat, name: str, to: ClientFormat
) -> None:
    strays = {
        str(pair): found
        for pair, found, _ in outcomes(client, name, to)
        if isinstance(found, str) and _first(found) not in pair.with_it
    }
    assert strays == {}


@pytest.mark.parametrize(("client", "name", "to"), ROADS)
def test_much_is_carried_named_and_refused(
    client: ClientFormat, name: str, to: ClientFormat
) -> None:
    """So that the rest is not true of nothing."""
    sorts = Counter(
        "refused"
        if isinstance(found, str)
        else "named"
        if found.dropped or found.adapted
        else "carried"
        for _, found, without in outcomes(client, name, to)
        if found != without
    )
    assert min(sorts["carried"], sorts["named"], sorts["refused"]) >= 10
