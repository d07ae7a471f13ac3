"""Which deployments are tried, in which order, after which pause; the providers are lists."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.candidates import backoff_s
from libs.common.errors import (
    AppError,
    NoConnection,
    ProviderNotConfigured,
    RateLimited,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from libs.common.schemas.route import Route
from libs.common.schemas.usage import FailedAttempt
from libs.common.storage.redis.cooldowns import CooldownStore
from services.gateway.calls.attempts import Attempt, Attempts
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Plan, Target
from services.gateway.formats import CHAT
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.capacity import Capacity
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.upstream.verdict import Failure, Outcome
from tests.unit import builders
from tests.unit.gateway.new_calls import new_call

NOW_S = 1_764_000_000.0
REQUEST = CallRequest(model="m", stream=False, max_output_tokens=None, fields={})
TOO_LONG = b'{"error": {"code": "context_length_exceeded"}}'


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> WholeAnswer:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return WholeAnswer(status=status, headers=raw, body=body)


def stream() -> Stream:
    async def chunks() -> Any:
        yield b""

    async def close() -> None:
        pass

    return Stream(headers=[], chunks=chunks(), close=close)


def target(name: str, **fields: Any) -> Target:
    return Target(deployment_id=name, provider="openai", model=name, **fields)


class Stage:
    """A dispatcher whose time, chance, pauses and providers are the test's own."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.chance = 0.0
        self.pauses: list[float] = []
        self.tried: list[str] = []
        self.attempts = 0
        self.failed: tuple[FailedAttempt, ...] = ()
        self.outcomes: dict[str, list[Outcome]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        # Its store is not asked before `share` runs.
        self.cooldowns = Cooldowns(CooldownStore(None), clock=lambda: self.now_s)  # type: ignore[arg-type]
        self.capacity = Capacity(limit=4, account_limit=4, wait_s=0)
        self.dispatcher = Dispatcher(
            self,
            self.cooldowns,
            self.capacity,
            chance=lambda: self.chance,
            sleep=self._sleep,
            clock=lambda: self.now_s,
        )

    def script(self, name: str, *outcomes: Outcome) -> None:
        """In that order; the last one from then on."""
        self.outcomes[name] = list(outcomes)

    async def call(
        self,
        targets: Sequence[Target],
        *,
        context_targets: Sequence[Target] = (),
        user_id: str = "acme",
        **route: Any,
    ) -> WholeAnswer | Stream:
        plan = Plan(
            route=Route(model="m", deployments=(), **route),
            targets=tuple(targets),
            context_targets=tuple(context_targets),
        )
        principal = Principal(builders.api_key(), builders.account(user_id))
        call = new_call(CHAT, now_ms=int(self.now_s * 1000), principal=principal)
        attempts = Attempts()
        self.tried.clear()
        self.pauses.clear()
        try:
            return await self.dispatcher.send(call, REQUEST, plan, [], attempts)
        finally:
            self.attempts, self.failed = attempts.count, attempts.failed

    async def refusal(self, targets: Sequence[Target], **fields: Any) -> AppError:
        with pytest.raises(AppError) as caught:
            await self.call(targets, **fields)
        return caught.value

    async def send(self, attempt: Attempt) -> WholeAnswer | Stream:
        name = attempt.target.deployment_id
        self.tried.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        outcomes = self.outcomes.get(name, [answer()])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


@pytest.fixture
def stage() -> Stage:
    return Stage()


A, B, C = target("a"), target("b"), target("c")
SECOND, THIRD = target("b", rank=(0, 1)), target("c", rank=(1, 0))


async def test_a_deployment_that_answers_ends_the_search(stage: Stage) -> None:
    assert await stage.call([A, SECOND, THIRD]) == answer()
    assert (stage.tried, stage.pauses) == (["a"], [])


@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20),
)
def test_first_picks_follow_the_weights(weights: list[int], chances: list[float]) -> None:
    """The share of [0, 1) that leads to a deployment is its weight's, and in their order."""
    stage = Stage()
    targets = [target(str(place), weight=weight) for place, weight in enumerate(weights)]

    async def run() -> None:
        for stage.chance in chances:
            await stage.call(targets)
            (chosen,) = stage.tried
            below = sum(weights[: int(chosen)]) / sum(weights)
            above = sum(weights[: int(chosen) + 1]) / sum(weights)
            assert below - 1e-9 <= stage.chance <= above + 1e-9

    asyncio.run(run())


async def test_shares_over_evenly_spread_draws_are_exact(stage: Stage) -> None:
    targets = [target("a", weight=1), target("b", weight=2), target("c", weight=5)]
    counts: Counter[str] = Counter()
    for place in range(800):
        stage.chance = place / 800
        await stage.call(targets)
        counts.update(stage.tried)
    assert counts == {"a": 100, "b": 200, "c": 500}


async def test_lower_priorities_are_tried_before_fallbacks(stage: Stage) -> None:
    for name in "ab":
        stage.script(name, answer(500))
    assert await stage.call([THIRD, SECOND, A]) == answer()
    assert (stage.tried, stage.pauses) == (["a", "b", "c"], [])


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_a_transient_failure_is_retried_after_a_pause(stage: Stage, status: int) -> None:
    stage.script("a", answer(status), answer())
    stage.chance = 0.5
    assert await stage.call([A]) == answer()
    assert stage.tried == ["a", "a"]
    assert stage.pauses == [backoff_s(1, 0.5)]


async def test_pauses_grow_and_attempts_are_bounded(stage: Stage) -> None:
    stage.script("a", UpstreamFailed("no"))
    stage.chance = 0.5
    error = await stage.refusal([A], max_attempts=4, cooldown_after=100)
    assert (error.status, error.message) == (502, "no")
    assert stage.tried == ["a"] * 4
    assert stage.attempts == 4
    assert stage.pauses == [backoff_s(attempt, 0.5) for attempt in (1, 2, 3)]


@pytest.mark.parametrize(
    ("status", "told"), [(400, 400), (405, 405), (413, 400), (422, 400), (501, 501)]
)
async def test_a_rejected_request_is_not_retried(stage: Stage, status: int, told: int) -> None:
    stage.script("a", answer(status))
    assert await stage.call([A, SECOND]) == answer(told)
    assert stage.tried == ["a"]


@pytest.mark.parametrize(
    "outcome",
    [answer(401), answer(403), answer(404), answer(307), UpstreamTimeout("slow")],
    ids=["401", "403", "404", "307", "timeout"],
)
async def test_a_permanent_failure_is_retried_on_another_deployment_only(
    stage: Stage, outcome: Outcome
) -> None:
    stage.script("a", outcome)
    assert await stage.call([A, SECOND]) == answer()
    assert stage.tried == ["a", "b"]
    stage.script("b", answer(500))
    await stage.call([A, SECOND], max_attempts=4)
    assert stage.tried == ["a", "b", "b", "b"]


async def test_a_sole_deployment_without_its_credential_is_tried_once(stage: Stage) -> None:
    stage.script("a", ProviderNotConfigured("no key"))
    assert (await stage.refusal([A])).code == "provider_not_configured"
    assert (stage.tried, stage.pauses, stage.attempts) == (["a"], [], 0)
    await stage.call([A, SECOND])
    assert (stage.tried, stage.attempts) == (["a", "b"], 1)


async def test_a_redirect_does_not_reach_the_client(stage: Stage) -> None:
    stage.script("a", answer(302, location="http://elsewhere"))
    assert isinstance(await stage.refusal([A]), UpstreamFailed)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (answer(429, retry_after="3"), 3.0),
        (answer(429, retry_after="0.5"), 0.5),
        (answer(503, retry_after_ms="250", retry_after="3"), 0.25),
        (answer(503, retry_after_ms="soon", retry_after="3"), 3.0),
        (answer(429, retry_after="-1"), 0.0),
        (answer(429, retry_after="Mon, 24 Nov 2025 16:00:02 GMT"), 2.0),
        (answer(429, retry_after="Mon, 24 Nov 2025 15:00:00 GMT"), 0.0),
        (UpstreamRefused("wait", status=429, code=None, retry_after_s=4), 4.0),
        (answer(429, retry_after="soon"), backoff_s(1, 0.5)),
        (answer(429, retry_after="nan"), backoff_s(1, 0.5)),
        (answer(429, retry_after=""), backoff_s(1, 0.5)),
    ],
)
async def test_retry_after_is_honored(stage: Stage, outcome: Outcome, seconds: float) -> None:
    stage.script("a", outcome, answer())
    stage.chance = 0.5
    assert await stage.call([A]) == answer()
    assert stage.pauses == [pytest.approx(seconds)]


async def test_a_long_retry_after_cools_down_instead_of_waiting(stage: Stage) -> None:
    stage.script("a", answer(429, retry_after="60"), answer())
    assert await stage.call([A]) == answer(429, retry_after="60")
    assert (stage.tried, stage.pauses) == (["a"], [])

    await stage.call([A, SECOND])
    assert stage.tried == ["b"]
    stage.now_s += 61
    await stage.call([A, SECOND])
    assert stage.tried == ["a"]


async def test_a_long_retry_after_is_bounded(stage: Stage) -> None:
    stage.script("a", answer(429, retry_after="9" * 30))
    await stage.call([A, SECOND])
    stage.now_s += 599
    assert stage.cooldowns.is_cooling("a", "acme")
    stage.now_s += 2
    assert not stage.cooldowns.is_cooling("a", "acme")


async def test_consecutive_failures_cool_a_deployment_down(stage: Stage) -> None:
    stage.script("a", answer(500), answer(500), answer(400), answer(500), answer(500), answer(500))
    for tried in (["a", "b"], ["a", "b"], ["a"], *[["a", "b"]] * 3, ["b"]):
        await stage.call([A, SECOND], cooldown_after=3, cooldown_s=30)
        assert stage.tried == tried
    stage.now_s += 30
    await stage.call([A, SECOND])
    assert stage.tried[0] == "a"


# What a request can bring about by what it names or holds, and for that only its account pays.
OF_REQUESTS = [answer(409), answer(425), UpstreamFailed("no", cause="translation")]
OF_ACCOUNTS = [answer(401), answer(403), answer(404), ProviderNotConfigured("no key")]
UNEXPLAINED = [
    *(answer(status) for status in (302, 408, 429, 500, 502, 503, 504, 529)),
    answer(429, retry_after="60"),
    UpstreamFailed("broke off"),
    UpstreamTimeout("slow"),
    UpstreamRefused("no", status=500, code=None, retry_after_s=None),
]
OF_DEPLOYMENTS = [
    UpstreamFailed("refused", cause="unreachable"),
    UpstreamTimeout("slow", cause="unreachable"),
]


async def fail(stage: Stage, outcome: Outcome, times: int, user_id: str) -> None:
    """That many calls of one account, each tried once."""
    stage.script("a", outcome)
    for _ in range(times):
        with suppress(AppError):
            await stage.call([A], user_id=user_id, max_attempts=1, cooldown_after=3)
    stage.script("a", answer())


async def first_tried(stage: Stage, user_id: str) -> str:
    await stage.call([A, SECOND], user_id=user_id)
    return stage.tried[0]


@pytest.mark.parametrize("outcome", OF_REQUESTS + OF_ACCOUNTS + UNEXPLAINED)
async def test_one_account_cannot_cool_a_deployment_down_for_another(
    stage: Stage, outcome: Outcome
) -> None:
    await fail(stage, outcome, 30, "mallory")
    # A failure of its own is one, whatever another had before.
    await fail(stage, answer(500), 1, "acme")
    assert await first_tried(stage, "acme") == "a"


@pytest.mark.parametrize("outcome", OF_ACCOUNTS + UNEXPLAINED)
async def test_a_failure_the_account_may_have_caused_cools_down_for_it_alone(
    stage: Stage, outcome: Outcome
) -> None:
    await fail(stage, outcome, 3, "acme")
    assert await first_tried(stage, "acme") == "b"
    stage.now_s += 61
    assert await first_tried(stage, "acme") == "a"


@pytest.mark.parametrize("outcome", OF_REQUESTS)
async def test_a_failure_caused_by_the_request_cools_nothing_down(
    stage: Stage, outcome: Outcome
) -> None:
    await fail(stage, outcome, 30, "acme")
    assert await first_tried(stage, "acme") == "a"


@pytest.mark.parametrize("outcome", UNEXPLAINED)
async def test_failures_of_enough_accounts_cool_down_for_all(
    stage: Stage, outcome: Outcome
) -> None:
    """So that of `cooldown_after` accounts that did nothing wrong, one fewer is not enough."""
    for user_id in ("mallory", "one", "two"):
        await fail(stage, outcome, 5, user_id)
    assert not stage.cooldowns.is_cooling("a", "acme")
    await fail(stage, outcome, 1, "three")
    assert await first_tried(stage, "acme") == "b"


@pytest.mark.parametrize("outcome", OF_ACCOUNTS)
async def test_refusals_of_many_accounts_cool_nothing_down_for_others(
    stage: Stage, outcome: Outcome
) -> None:
    for number in range(20):
        await fail(stage, outcome, 3, f"user-{number}")
    assert await first_tried(stage, "acme") == "a"


async def test_an_answer_in_between_resets_the_count_over_accounts(stage: Stage) -> None:
    for number in range(20):
        await fail(stage, answer(500), 1, f"user-{number}")
        if number % 3 == 2:
            await stage.call([A], user_id="served")
    assert await first_tried(stage, "acme") == "a"


@pytest.mark.parametrize("between", [answer(), answer(400)])
async def test_an_answer_to_one_account_does_not_reset_the_count_of_another(
    stage: Stage, between: WholeAnswer
) -> None:
    for _ in range(3):
        await fail(stage, answer(500), 1, "acme")
        stage.script("a", between)
        await stage.call([A], user_id="mallory")
    assert await first_tried(stage, "acme") == "b"


@pytest.mark.parametrize("outcome", OF_DEPLOYMENTS)
async def test_an_unreachable_deployment_cools_down_for_all(stage: Stage, outcome: Outcome) -> None:
    await fail(stage, outcome, 2, "one")
    assert not stage.cooldowns.is_cooling("a", "acme")
    await fail(stage, outcome, 1, "two")
    assert await first_tried(stage, "acme") == "b"


@pytest.mark.parametrize("between", [answer(), answer(400), answer(500)])
async def test_any_answer_resets_the_count_of_unreachable(
    stage: Stage, between: WholeAnswer
) -> None:
    for _ in range(4):
        await fail(stage, UpstreamFailed("refused", cause="unreachable"), 2, "one")
        await fail(stage, between, 1, "two")
        await stage.call([A], user_id="two")
    assert await first_tried(stage, "acme") == "a"


async def test_the_count_of_failures_is_bounded(stage: Stage) -> None:
    """The oldest are forgotten: of 10,000 later accounts' failures, its own were the first."""
    await fail(stage, answer(401), 2, "acme")
    for number in range(10_000):
        stage.cooldowns.failed("a", str(number), Failure.OF_ACCOUNT, after=3, for_s=30)
    await fail(stage, answer(401), 1, "acme")
    assert await first_tried(stage, "acme") == "a"


@pytest.mark.parametrize("status", [421, 425, 499])
async def test_some_statuses_become_502(stage: Stage, status: int) -> None:
    for outcome in (
        answer(status),
        UpstreamRefused("no", status=status, code=None, retry_after_s=None),
    ):
        stage.script("a", outcome)
        refused = await stage.refusal([A], max_attempts=1)
        assert (refused.status, refused.code) == (502, "upstream_unavailable")
        assert str(status) in refused.message


async def test_a_cooling_deployment_is_used_if_no_other_is_left(stage: Stage) -> None:
    stage.cooldowns.start("a", 60, why="a test")
    await stage.call([A])
    assert stage.tried == ["a"]
    stage.script("b", answer(401))
    assert await stage.call([A, B]) == answer()
    assert stage.tried == ["b", "a"]


async def test_a_prompt_that_is_too_long_falls_back_to_larger_models(stage: Stage) -> None:
    stage.script("a", answer(400, TOO_LONG))
    assert await stage.call([A, SECOND], context_targets=[C]) == answer()
    assert stage.tried == ["a", "c"]

    stage.script("c", answer(400, TOO_LONG))
    assert await stage.call([A, SECOND], context_targets=[C]) == answer(400, TOO_LONG)
    assert stage.tried == ["a", "c"]
    assert await stage.call([A, SECOND]) == answer(400, TOO_LONG)
    assert stage.tried == ["a"]


@pytest.mark.parametrize(
    "outcome",
    [
        answer(400, b"This model's maximum context length is 8192 tokens"),
        answer(400, b"prompt is too long: 210000 tokens > 200000 maximum"),
        answer(413, b"Your input exceeds the context window of this model."),
        UpstreamRefused("no", status=400, code="context_length_exceeded", retry_after_s=None),
    ],
)
async def test_wordings_of_a_too_long_prompt_are_recognized(stage: Stage, outcome: Outcome) -> None:
    stage.script("a", outcome)
    await stage.call([A], context_targets=[C])
    assert stage.tried == ["a", "c"]


async def test_a_stream_that_has_begun_is_not_retried(stage: Stage) -> None:
    provider_stream = stream()
    stage.script("a", provider_stream)
    answer_stream = await stage.call([A, SECOND])
    assert isinstance(answer_stream, Stream)
    assert answer_stream.chunks is provider_stream.chunks
    assert stage.tried == ["a"]


async def test_a_full_deployment_is_skipped(stage: Stage) -> None:
    one = target("a", max_parallel=1)
    gate = stage.gates["a"] = asyncio.Event()
    under_way = asyncio.create_task(stage.call([one]))
    while not stage.tried:
        await asyncio.sleep(0)

    assert (await stage.call([one, SECOND])) == answer()
    assert stage.tried == ["b"]
    busy = await stage.refusal([one])
    assert isinstance(busy, RateLimited)
    assert (busy.retry_after_s, stage.tried) == (1, [])

    gate.set()
    await under_way
    await stage.call([one])
    assert stage.tried == ["a"]


async def test_a_stream_occupies_its_slot_until_it_is_closed(stage: Stage) -> None:
    one = target("a", max_parallel=2)
    stage.script("a", stream(), stream(), answer())
    first, second = await stage.call([one]), await stage.call([one])
    assert isinstance(first, Stream)
    assert isinstance(second, Stream)
    await first.close()
    # The handler and the relay may both close it; the second stream keeps its place.
    await first.close()
    await stage.call([one])
    stage.script("a", stream(), answer())
    third = await stage.call([one])
    assert isinstance(await stage.refusal([one]), RateLimited)
    assert isinstance(third, Stream)
    for open_stream in (second, third):
        await open_stream.close()
        await open_stream.chunks.aclose()
    await first.chunks.aclose()
    assert await stage.call([one]) == answer()


async def test_a_cancelled_call_releases_its_slot(stage: Stage) -> None:
    one = target("a", max_parallel=1)
    gate = stage.gates["a"] = asyncio.Event()
    under_way = asyncio.create_task(stage.call([one]))
    while not stage.tried:
        await asyncio.sleep(0)
    under_way.cancel()
    await asyncio.wait({under_way})
    gate.set()
    assert await stage.call([one]) == answer()


async def test_a_missing_pool_connection_is_not_a_deployments_failure(stage: Stage) -> None:
    stage.script("a", *[stream()] * 4)
    streams = [await stage.call([A]) for _ in range(4)]
    stage.tried.clear()
    for _ in range(10):
        refusal = await stage.refusal([A, SECOND], cooldown_after=1)
        assert isinstance(refusal, NoConnection)
        assert (refusal.status, refusal.retry_after_s) == (503, 2)
    assert (stage.tried, stage.attempts, stage.pauses) == ([], 0, [])

    for open_stream in streams:
        assert isinstance(open_stream, Stream)
        await open_stream.close()
    await stage.call([A, SECOND])
    assert stage.tried == ["a"]


async def test_failed_and_cancelled_calls_release_their_connections(stage: Stage) -> None:
    stage.script("a", UpstreamFailed("down"))
    for _ in range(6):
        assert isinstance(await stage.refusal([A], max_attempts=1), UpstreamFailed)
    stage.gates["a"] = asyncio.Event()
    under_way = [asyncio.create_task(stage.call([A])) for _ in range(4)]
    await asyncio.sleep(0)
    assert isinstance(await stage.refusal([B]), NoConnection)
    for call in under_way:
        call.cancel()
    await asyncio.wait(under_way)
    assert await stage.call([B]) == answer()


@pytest.mark.parametrize("outcome", [answer(), answer(400), UpstreamFailed("no"), ValueError("no")])
@pytest.mark.parametrize("is_pinned", [False, True])
async def test_the_time_of_providers_is_known_however_a_call_ends(
    stage: Stage, outcome: Any, is_pinned: bool
) -> None:
    stage.script("a", outcome)
    call, attempts, began_s = new_call(CHAT, now_ms=0), Attempts(), perf_counter()
    with suppress(AppError, ValueError):
        if is_pinned:
            await stage.dispatcher.send_to(Attempt(call, REQUEST, A, []), attempts)
        else:
            plan = Plan(route=Route(model="m", deployments=()), targets=(A,))
            await stage.dispatcher.send(call, REQUEST, plan, [], attempts)
    assert attempts.began_s is not None
    if isinstance(outcome, ValueError):
        assert attempts.ended_s is None
    else:
        assert attempts.ended_s is not None
        assert began_s <= attempts.began_s < attempts.ended_s <= perf_counter()
