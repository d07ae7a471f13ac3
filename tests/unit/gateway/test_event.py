"""A call's usage event: what of the stages' findings the ledger gets."""

from typing import Any

import msgspec
import pytest

from libs.common.schemas.usage import MAX_OBJECT_ID_CHARS, MAX_OBJECTS, TokenUsage, UsageEvent
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.event import event_of
from services.gateway.calls.progress import AnswerProgress
from services.gateway.calls.target import Target
from services.gateway.formats import CHAT
from services.gateway.formats.base import MadeObjects
from tests.unit.gateway.new_calls import new_call

CALL = new_call(CHAT, now_ms=1_764_400_000_000)
RELAYED = Target(deployment_id="a", provider="openai", model="m", paths={"chat": "/v1"})
TRANSLATED = Target(deployment_id="b", provider="anthropic", model="m", paths={"messages": "/v1"})
USAGE = TokenUsage(input_text=1, output_text=2)


def make_event(
    target: Target | None, progress: AnswerProgress, user: str = "u", **fields: Any
) -> UsageEvent:
    body = msgspec.json.encode({"model": "m", "user": user})
    return event_of(CALL, CHAT.decode(body), (), Attempts(target), progress, "ok", 200, **fields)


def test_a_call_that_has_come_to_nothing_has_an_event() -> None:
    event = event_of(CALL, None, ("a",), Attempts(), AnswerProgress(), "refused", 400)
    assert (event.requested_model, event.deployment, event.stream) == (None, None, False)
    assert (event.tags, event.attempts, event.held_nusd) == (("a",), 0, 0)
    assert (event.call_id, event.user_id, event.key_id) == (CALL.call_id, "acme", "key-1")


def test_names_of_others_are_bounded() -> None:
    progress = AnswerProgress(
        provider_request_id="p" * 300, made=MadeObjects(response_id="r" * 300)
    )
    event = make_event(RELAYED, progress, user="u" * 300)
    assert event.provider_request_id == "p" * 256
    assert event.response_id == "r" * 256
    assert event.client_user == "u" * 256


def test_objects_are_the_calls_own_and_bounded() -> None:
    too_long = "x" * (MAX_OBJECT_ID_CHARS + 1)
    many = tuple(f"file-{n}" for n in range(2 * MAX_OBJECTS))
    progress = AnswerProgress(
        granted=frozenset({"file-0"}), made=MadeObjects(objects=(too_long, *many, *many))
    )
    assert make_event(RELAYED, progress).objects == many[1 : MAX_OBJECTS + 1]


def test_a_translation_keeps_nothing() -> None:
    progress = AnswerProgress(made=MadeObjects(response_id="r", objects=("file-1",)))
    event = make_event(TRANSLATED, progress)
    assert (event.translated, event.response_id, event.objects) == (True, None, ())
    assert make_event(RELAYED, progress).response_id == "r"


@pytest.mark.parametrize(
    ("region", "told", "found"),
    [("eu", None, "eu"), ("eu", "us", "us"), ("global", None, None), (None, None, None)],
)
def test_an_answer_without_a_region_has_the_deployments_region(
    region: str | None, told: str | None, found: str | None
) -> None:
    target = msgspec.structs.replace(RELAYED, region=region)
    usage = msgspec.structs.replace(USAGE, inference_geo=told)
    event = make_event(target, AnswerProgress(), usage=usage)
    assert event.usage == msgspec.structs.replace(USAGE, inference_geo=found)


@pytest.mark.parametrize(
    ("attempts", "own_ms"),
    [
        (Attempts(began_s=CALL.started_s + 0.25), 250),
        # It ends in an hour, so the gateway's own time is an hour less.
        (Attempts(began_s=CALL.started_s + 0.25, ended_s=CALL.started_s + 3_600), None),
    ],
)
def test_the_time_of_providers_is_not_overhead(attempts: Attempts, own_ms: float | None) -> None:
    """While an answer is waited for, and after an error that broke the wait, nothing is added."""
    overhead_ms = AnswerProgress().overhead_ms(CALL, attempts)
    assert overhead_ms < 0 if own_ms is None else overhead_ms == pytest.approx(own_ms, abs=0.01)


def test_the_gateways_own_time_ends_when_a_stream_begins() -> None:
    progress = AnswerProgress(stream_overhead_ms=1.5)
    assert progress.overhead_ms(CALL, Attempts(began_s=1, ended_s=2)) == 1.5
