"""The scripts against a model in Python: whatever happens in whatever order, they agree."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from libs.common.schemas.holds import (
    Admission,
    Admitted,
    LimitScope,
    OverBudget,
    PeriodLimit,
    Spent,
    Standing,
    Unseeded,
)
from libs.common.storage.redis.client import Redis, open_redis
from tests.fake_redis import fake_redis
from tests.service.storage.account import USER, AccountCalls

OpenRedis = Callable[[], AbstractAsyncContextManager[Redis]]

# Half of the calls are made with the account's one key that has a budget of its own.
_OWNER = {"a": "k1", "b": None, "c": "k1", "d": None}
_calls = st.sampled_from(sorted(_OWNER))
# Round amounts, so that a budget is often used up to its last nano-USD.
_amounts = st.sampled_from([0, 10, 20, 40])
_spent = st.sampled_from([-10, 0, 10, 30, 50])
_periods = st.sampled_from(["2026-11", "2026-12"])
_budgets = st.dictionaries(_periods, st.sampled_from([0, 20, 50, 100])).map(
    lambda limits: tuple(PeriodLimit(period, limit) for period, limit in limits.items())
)


class Model:
    """What the scripts promise, in the simplest words."""

    def __init__(self) -> None:
        self.holds: dict[str, int] = {}
        # Leases of these are over, but nobody has looked yet.
        self.due: set[str] = set()
        # Calls whose event is known, and those of them that were abandoned.
        self.events: set[str] = set()
        self.expired: set[str] = set()
        # (nano-USD, revision)
        self.spent: dict[tuple[str | None, str], tuple[int, int]] = {}

    def held(self, key_id: str | None = None) -> int:
        return sum(amount for call, amount in self.holds.items() if key_id in (None, _OWNER[call]))

    def release(self, call: str) -> None:
        self.holds.pop(call, None)
        self.events.discard(call)
        self.due.discard(call)

    def end_leases(self) -> None:
        for call in sorted(self.due):
            if call in self.events:
                self.expired.add(call)
            self.release(call)

    def admit(self, call: str, hold: int, scopes: list[LimitScope]) -> Admission:
        self.end_leases()
        more = 0 if call in self.holds else hold
        standings = []
        for scope in scopes:
            for budget in scope.budgets:
                if (scope.key_id, budget.period) not in self.spent:
                    return Unseeded(scope, budget.period)
                spent, held = self.spent[scope.key_id, budget.period][0], self.held(scope.key_id)
                if call not in self.holds and spent + held + hold > budget.limit:
                    return OverBudget(scope, budget, spent, held)
                standings.append(Standing(spent, held + more))
        if call not in self.holds:
            self.holds[call] = hold
            self.events.add(call)
        return Admitted(0, (), tuple(standings))

    def take_over(self, row: Spent) -> None:
        current = self.spent.get((row.key_id, row.period))
        if current is None or (row.revision, row.nusd) > (current[1], current[0]):
            self.spent[row.key_id, row.period] = (row.nusd, row.revision)


class HoldsMachine(RuleBasedStateMachine):
    """Does the same to Redis and to the model."""

    def __init__(self, opened: OpenRedis) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = opened()
        self.calls = AccountCalls(self.runner.run(self.opened.__aenter__()))
        self.runner.run(self.calls.holds.load_scripts())
        self.model = Model()

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    @rule(call=_calls, hold=_amounts, own=_budgets, shared=_budgets)
    def admit(
        self,
        call: str,
        hold: int,
        own: tuple[PeriodLimit, ...],
        shared: tuple[PeriodLimit, ...],
    ) -> None:
        key_id = _OWNER[call]
        scopes = [LimitScope(budgets=shared)]
        if key_id is not None:
            scopes.append(LimitScope(key_id=key_id, budgets=own))
        is_open = call in self.model.holds and call not in self.model.due
        answer = self.runner.run(self.calls.admit(call, hold, scopes=scopes))
        expected = self.model.admit(call, hold, scopes)
        if isinstance(answer, Admitted) and isinstance(expected, Admitted):
            assert answer.standings == expected.standings
            budgets = [(s.key_id, b) for s in scopes for b in s.budgets]
            for (owner, budget), standing in zip(budgets, answer.standings, strict=True):
                assert standing.held_nusd == self.model.held(owner)
                assert is_open or standing.spent_nusd + standing.held_nusd <= budget.limit
        else:
            assert answer == expected

    @rule(call=_calls, cost=_amounts)
    def finish(self, call: str, cost: int) -> None:
        self.runner.run(self.calls.finish(call, cost, key_id=_OWNER[call]))
        self.model.holds[call] = cost
        self.model.due.discard(call)
        self.model.expired.discard(call)

    @rule(
        posted=st.sets(_calls),
        rows=st.lists(
            st.builds(
                Spent,
                key_id=st.sampled_from([None, "k1"]),
                period=_periods,
                nusd=_spent,
                revision=st.integers(0, 3),
            ),
            max_size=3,
        ),
    )
    def settle(self, posted: set[str], rows: list[Spent]) -> None:
        self.runner.run(self.calls.settle(sorted(posted), *rows))
        for call in posted:
            self.model.release(call)
            self.model.expired.discard(call)
        for row in rows:
            self.model.take_over(row)

    @rule(key_id=st.sampled_from([None, "k1"]), period=_periods, nusd=_spent)
    def seed(self, key_id: str | None, period: str, nusd: int) -> None:
        row = Spent(key_id=key_id, period=period, nusd=nusd)
        self.runner.run(self.calls.holds.seed(USER, [row]))
        self.model.take_over(row)

    @rule(calls=st.sets(_calls))
    def renew(self, calls: set[str]) -> None:
        self.runner.run(self.calls.holds.renew(USER, sorted(calls), lease_s=600))
        self.model.due -= calls

    @rule(call=_calls)
    def lease_ends(self, call: str) -> None:
        # Longer than the lease of any call, finished ones included.
        self.runner.run(self.calls.later(30 * 24 * 3600 * 1000, call))
        if call in self.model.holds:
            self.model.due.add(call)

    @rule()
    def sweep(self) -> None:
        found = self.runner.run(self.calls.sweep())
        self.model.end_leases()
        assert found == sorted(self.model.expired)

    @rule(key_id=st.sampled_from([None, "k1"]), period=_periods)
    def forget_spend(self, key_id: str | None, period: str) -> None:
        self.runner.run(self.calls.forget_spend(key_id, period))
        self.model.spent.pop((key_id, period), None)

    @rule(rarely=st.integers(0, 5))
    def flush(self, rarely: int) -> None:
        if rarely != 5:
            return
        self.runner.run(self.calls.flush())
        self.model = Model()

    @invariant()
    def nothing_leaks(self) -> None:
        amounts, leases, events, held, key_held = self.runner.run(self.state())
        assert amounts == self.model.holds
        assert leases == self.model.holds.keys()
        assert events == self.model.events
        assert (held, key_held) == (self.model.held(), self.model.held("k1"))
        assert held == sum(amounts.values())
        assert 0 <= key_held <= held

    async def state(self) -> tuple[dict[str, int], set[str], set[str], int, int]:
        redis = self.calls.redis
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(f"{self.calls.root}:amounts")
            pipeline.zrange(f"{self.calls.root}:leases", 0, -1)
            pipeline.hkeys(f"{self.calls.root}:events")
            pipeline.mget(f"{self.calls.root}:held", f"{self.calls.root}:held:key:k1")
            amounts, leases, events, held = await pipeline.execute()
        return (
            {call.decode(): int(amount) for call, amount in amounts.items()},
            {call.decode() for call in leases},
            {call.decode() for call in events},
            int(held[0] or 0),
            int(held[1] or 0),
        )


def run(opened: OpenRedis, *, examples: int) -> None:
    class OpenedMachine(HoldsMachine):
        def __init__(self) -> None:
            super().__init__(opened)

    run_state_machine_as_test(
        OpenedMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            # Explaining a failure costs minutes here.
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_the_fake_agrees_with_the_model() -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Redis]:
        async with fake_redis() as redis:
            yield redis

    run(opened, examples=60)


@pytest.mark.redis
def test_the_server_agrees_with_the_model(redis_url: str) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Redis]:
        async with open_redis(redis_url) as redis:
            await redis.flushall()
            yield redis

    run(opened, examples=60)
