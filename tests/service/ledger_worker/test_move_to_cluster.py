"""From one server to a cluster without a stop, by the steps of docs/scale.md."""

from collections.abc import AsyncIterator

import pytest

from libs.common.schemas.holds import (
    Admission,
    Admitted,
    LimitScope,
    OverBudget,
    PeriodLimit,
    Spent,
)
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.spend import forget_spend
from services.ledger_worker.settings import Settings
from tests.clusters import Cluster
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    Stage,
    make_event,
    new_call_id,
    open_stage,
    working,
)

_BUDGET = PeriodLimit("total", 4 * CALL_NUSD)


@pytest.fixture
async def cluster_stage(
    stage: Stage, mongo_uri: str, cluster_session: Cluster
) -> AsyncIterator[Stage]:
    """The ledger of `stage`, with the cluster beside its server."""
    cluster_session.empty()
    async with open_stage(mongo_uri, cluster_session.url) as opened:
        yield opened
    # Other tests have another number of shards.
    cluster_session.empty()


async def admit(stage: Stage) -> Admission:
    """A call of alice, as a gateway does: it seeds what Redis does not know from MongoDB."""
    found = await LedgerReader(stage.database).spend_with_revisions(["alice"], ["total"])
    spent = [
        Spent(period=period, nusd=each.nusd, revision=each.revision)
        for (_, period), each in found.items()
    ]
    await stage.holds.seed("alice", spent or [Spent(period="total", nusd=0)])
    return await stage.holds.admit(
        "alice",
        new_call_id(),
        hold_nusd=CALL_NUSD,
        tokens=0,
        lease_s=3600,
        scopes=[LimitScope(budgets=(_BUDGET,))],
        event=b"event",
    )


async def test_calls_end_on_either_side_while_both_have_a_worker(
    stage: Stage, cluster_stage: Stage, settings: Settings
) -> None:
    """The server's last call ends after the cluster was seeded, and counts there by the command."""
    first, late, new = (make_event() for _ in range(3))
    async with working(stage, settings), working(cluster_stage, settings):
        await stage.hold(first)
        await stage.hold(late)
        await stage.enqueue([first])
        await stage.drained()
        # The last of the old gateways has ended but for the late call; a new one serves.
        assert isinstance(await admit(cluster_stage), Admitted)
        await cluster_stage.hold(new)
        await cluster_stage.enqueue([new])
        await cluster_stage.drained()
        await stage.enqueue([late])
        await stage.drained()
    assert await stage.holds.held("alice") == 0
    assert await cluster_stage.holds.held("alice") == CALL_NUSD
    assert await cluster_stage.spent_in_redis("alice") == 2 * CALL_NUSD
    await forget_spend(cluster_stage.redis)
    await cluster_stage.assert_exact("alice", 3)
    assert isinstance(await admit(cluster_stage), OverBudget)
    assert await cluster_stage.spent_in_redis("alice") == 3 * CALL_NUSD


async def test_an_event_that_both_sides_have_is_posted_once(
    stage: Stage, cluster_stage: Stage, settings: Settings
) -> None:
    """An old gateway wrote it to the server and, since no answer came, to its spool; the spool went
    to the cluster.
    """
    event = make_event()
    for side in (stage, cluster_stage):
        await side.hold(event)
        await side.enqueue([event])
    async with working(stage, settings), working(cluster_stage, settings):
        await stage.drained()
        await cluster_stage.drained()
    await cluster_stage.assert_exact("alice", 1)
    for side in (stage, cluster_stage):
        assert await side.holds.held("alice") == 0
