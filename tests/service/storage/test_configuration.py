"""The stores of what the admin service configures: accounts, keys and prices."""

from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.schemas.account import Budget, Limits
from libs.common.schemas.key import OldSecret
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.keys import INDEXES as KEY_INDEXES
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.prices import INDEXES as PRICE_INDEXES
from libs.common.storage.mongo.prices import PriceFilter, PriceStore
from libs.common.storage.mongo.slices import RowPlace, Slice
from tests.unit.builders import NOW, account, api_key, price, rates, tier

ALL = PriceFilter()
_LATER = NOW + timedelta(hours=1)


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    return AccountStore(database)


@pytest.fixture
async def keys(database: Database) -> KeyStore:
    store = KeyStore(database)
    await build_indexes(database, KEY_INDEXES)
    return store


@pytest.fixture
async def prices(database: Database) -> PriceStore:
    store = PriceStore(database)
    await build_indexes(database, PRICE_INDEXES)
    return store


async def test_an_account_comes_back_as_it_was_stored(accounts: AccountStore) -> None:
    stored = account(
        budgets=(
            Budget(limit_nusd=2**53 - 1, period="monthly", soft_limit_nusd=2**32),
            Budget(limit_nusd=0, period="daily"),
        ),
        limits=Limits(requests_per_minute=60, parallel_calls=0),
        time_zone="Europe/Berlin",
        metadata={"team": "r & d", "a.b$c": ""},
    )
    assert await accounts.insert(stored)
    assert await accounts.get("acme") == stored
    assert await accounts.get("nobody") is None


async def test_a_user_id_is_taken_once(accounts: AccountStore) -> None:
    assert await accounts.insert(account(name="first"))
    assert not await accounts.insert(account(name="second"))
    found = await accounts.get("acme")
    assert found is not None
    assert found.name == "first"


async def test_a_change_of_an_account_leaves_its_spend_alone(
    accounts: AccountStore, database: Database
) -> None:
    await accounts.insert(account())
    await database["accounts"].update_one({"_id": "acme"}, {"$inc": {"spent_nusd": 2**40}})
    changed = await accounts.update("acme", {"status": "suspended"}, _LATER)
    assert changed == account(status="suspended", spent_nusd=2**40, updated_at=_LATER)
    assert await accounts.get("acme") == changed
    assert await accounts.update("nobody", {"status": "active"}, _LATER) is None


async def test_a_key_comes_back_as_it_was_stored(keys: KeyStore) -> None:
    plain = api_key("key-1")
    narrow = api_key(
        "key-2",
        allowed_models=("gpt-4o*",),
        expires_at=_LATER,
        budgets=(Budget(limit_nusd=5, period="total"),),
        limits=Limits(tokens_per_minute=10),
    )
    for key in (plain, narrow):
        await keys.insert(key)
    assert [await keys.get("key-1"), await keys.get("key-2")] == [plain, narrow]
    assert await keys.get_by_hash("hash of key-2") == narrow
    assert await keys.get_by_hash("hash of nothing") is None
    assert await keys.budgeted(["key-1", "key-2", "unknown"]) == [narrow]


@pytest.mark.parametrize("every", [1, 3, 50], ids=["all", "many", "few"])
async def test_all_keys_with_budgets_are_found(keys: KeyStore, every: int) -> None:
    """However many they are, and however many the last question was about."""
    ids = [f"key-{n:03}" for n in range(120)]
    budgets = (Budget(limit_nusd=5, period="total"),)
    for n, key_id in enumerate(ids):
        await keys.insert(api_key(key_id, budgets=() if n % every else budgets))
    for queried in (ids, ids, ids[:50], ids[1:2], ids):
        found = {key.key_id for key in await keys.budgeted(queried)}
        assert found == set(ids[::every]) & set(queried)


async def test_a_budget_counts_from_the_next_question_on(keys: KeyStore) -> None:
    await keys.insert(api_key("key-1"))
    assert await keys.budgeted(["key-1"]) == []
    changes = {"budgets": [{"limit_nusd": 5, "period": "total"}]}
    changed = await keys.update("key-1", changes, _LATER)
    assert await keys.budgeted(["key-1"]) == [changed]


async def test_a_key_is_found_by_its_old_secrets(keys: KeyStore) -> None:
    old = tuple(OldSecret(prefix="p", secret_hash=name, until=NOW) for name in ("old-1", "old-2"))
    await keys.insert(api_key("key-1", old_secrets=old))
    await keys.insert(api_key("key-2"))
    for name in ("hash of key-1", "old-1", "old-2"):
        assert await keys.get_by_hash(name) == api_key("key-1", old_secrets=old)


async def test_keys_are_found_by_what_their_secrets_begin_with(keys: KeyStore) -> None:
    old = OldSecret(prefix="sk-gw-000000", secret_hash="old", until=NOW)
    await keys.insert(api_key("k1", prefix="sk-gw-111111", old_secrets=(old,)))
    await keys.insert(api_key("k2", prefix="sk-gw-000000"))
    for prefix, ids in (("sk-gw-111111", {"k1"}), ("sk-gw-000000", {"k1", "k2"}), ("sk", set())):
        assert {key.key_id for key in await keys.with_prefix(prefix)} == ids


async def test_an_empty_list_of_models_stays_empty(keys: KeyStore) -> None:
    await keys.insert(api_key("none", allowed_models=()))
    found = await keys.get("none")
    assert found is not None
    assert found.allowed_models == ()


async def test_a_secret_belongs_to_one_key(keys: KeyStore) -> None:
    assert await keys.insert(api_key("key-1"))
    assert not await keys.insert(api_key("key-2", secret_hash="hash of key-1"))
    assert not await keys.insert(api_key("key-1", secret_hash="another"))


async def test_keys_are_listed_in_pages_and_by_account(keys: KeyStore) -> None:
    for key_id, user_id in [("k1", "acme"), ("k2", "other"), ("k3", "acme"), ("k4", "acme")]:
        await keys.insert(api_key(key_id, user_id=user_id))

    async def listed(user_id: str | None, after: str | None) -> list[str]:
        part = Slice(limit=2, start=None if after is None else RowPlace(after, after))
        found = await keys.slice(part, user_id=user_id, keep=lambda _: True)
        return [key.key_id for key in found.rows]

    assert await listed(None, None) == ["k1", "k2"]
    assert await listed(None, "k2") == ["k3", "k4"]
    assert await listed("acme", None) == ["k1", "k3"]
    assert await listed("acme", "k3") == ["k4"]
    assert await listed("nobody", None) == []


async def test_a_revoked_key_stays_marked_as_revoked(keys: KeyStore) -> None:
    await keys.insert(api_key("key-1"))
    changed = await keys.update("key-1", {"status": "revoked"}, _LATER)
    assert changed == api_key("key-1", status="revoked", updated_at=_LATER)
    assert await keys.get_by_hash("hash of key-1") == changed
    assert await keys.update("unknown", {"status": "revoked"}, _LATER) is None


async def test_a_price_comes_back_exactly(prices: PriceStore) -> None:
    stored = price(
        rates=rates(input="0.1", output="1E-9", cache_read="0", reasoning="123456789.987654321"),
        tiers=(tier(above=200_000, service_tier="flex", cache_write_1h="0.30"),),
        aliases=("omni", "openai/omni"),
        web_search=Decimal("0.010"),
        surcharges={"fast": Decimal(2), "us": Decimal("1.10")},
        max_output_tokens=16_384,
    )
    await prices.insert(stored)
    (found,) = await prices.versions_of(["gpt-4o"])
    assert found == stored
    # Not even the digits that mean nothing are lost.
    assert str(found.tiers[0].rates.cache_write_1h) == "0.30"


async def test_a_price_stored_without_surcharges_is_read(
    prices: PriceStore, database: Database
) -> None:
    await prices.insert(price())
    await database["prices"].update_many({}, {"$unset": {"surcharges": ""}})
    assert await prices.versions_of(["gpt-4o"]) == [price()]


async def test_a_version_is_never_replaced(prices: PriceStore) -> None:
    assert await prices.insert(price())
    assert not await prices.insert(price(rates=rates(input="9")))
    assert await prices.versions_of(["gpt-4o"]) == [price()]


async def test_versions_are_found_by_name_and_by_alias_the_newest_first(
    prices: PriceStore,
) -> None:
    old, new = price("gpt-4o", days=-30), price("gpt-4o", days=-2)
    alias = price("omni", days=-9, aliases=("gpt-4o",))
    for version in (old, alias, new, price("gpt-5")):
        await prices.insert(version)
    assert await prices.versions_of(["gpt-4o", "openai/gpt-4o", "gpt-4o"]) == [new, alias, old]
    assert await prices.versions_of([]) == []


async def test_patterns_are_found_without_a_name(prices: PriceStore) -> None:
    pattern, alias = price("gpt-4*", days=-3), price("omni", days=-2, aliases=("o?-mini",))
    await prices.insert(pattern)
    await prices.insert_many([price("gpt-4o"), alias])
    assert await prices.patterns() == [alias, pattern]
    assert await prices.versions_of(["gpt-4o"]) == [price("gpt-4o")]


@pytest.mark.parametrize("others", [0, 100], ids=["few", "many"])
async def test_candidates_are_what_a_name_and_a_pattern_find(
    prices: PriceStore, others: int
) -> None:
    by_alias = price("omni", days=-9, aliases=("gpt-4o",))
    took_over, pattern = price("omni", days=-2), price("gpt-*", days=-3)
    by_pattern = price("o3", aliases=("gpt-?o",))
    expected = [price("gpt-4o"), by_alias, took_over, pattern, by_pattern]
    await prices.insert_many([*expected, price("gpt-5"), price("o3-mini", aliases=("o4-mini",))])
    if others:
        await prices.insert_many([price(f"model-{n}") for n in range(others)])
    found = await prices.candidates(["gpt-4o", "openai/gpt-4o"])
    assert {version.price_id for version in found} == {version.price_id for version in expected}
    versions, patterns = await prices.versions_of(["gpt-4o"]), await prices.patterns()
    assert {v.price_id for v in (*versions, *patterns)} == {v.price_id for v in found}


async def test_a_price_is_a_candidate_from_the_next_question_on(prices: PriceStore) -> None:
    assert await prices.candidates(["gpt-4o"]) == []
    await prices.insert_many([price(f"model-{n}") for n in range(100)])
    for stored in (price("gpt-4o"), price("omni", aliases=("gpt-4o",)), price("gpt-*")):
        await prices.insert(stored)
        found = await prices.candidates(["gpt-4o"])
        assert stored.price_id in {version.price_id for version in found}
    ended = await prices.end(stored, _LATER)
    assert ended in await prices.candidates(["gpt-4o"])


async def test_prices_are_listed_in_pages(prices: PriceStore) -> None:
    for price_id in ("p2", "p1", "p3"):
        await prices.insert(price(price_id=price_id))
    assert [row.price_id for row in await prices.list(ALL, after=None, limit=2)] == [
        "p1",
        "p2",
    ]
    assert [row.price_id for row in await prices.list(ALL, after="p2", limit=2)] == ["p3"]


async def test_a_versions_end_can_only_be_moved_earlier(prices: PriceStore) -> None:
    stored = price(price_id="p1")
    await prices.insert(stored)
    assert await prices.end(price(price_id="p0"), NOW) is None
    ended = price(price_id="p1", effective_until=_LATER)
    assert await prices.end(stored, _LATER) == ended
    assert await prices.end(ended, _LATER + timedelta(days=1)) == ended
    # Somebody else has ended it since.
    assert await prices.end(stored, NOW) is None
    sooner = price(price_id="p1", effective_until=NOW)
    assert await prices.end(ended, NOW) == sooner
    assert await prices.end(sooner, _LATER) == sooner


async def test_of_a_model_found_by_its_alias_all_versions_are_found(prices: PriceStore) -> None:
    alias, without = price("omni", days=-9, aliases=("gpt-4o",)), price("omni", days=-1)
    await prices.insert_many([alias, without, price("gpt-5", aliases=("omni",))])
    assert await prices.versions_of(["gpt-4o"]) == [without, alias]


async def models_of(prices: PriceStore, filters: PriceFilter, part: Slice) -> list[str]:
    return (await prices.models(filters, part)).rows


async def test_models_are_listed_in_pages(prices: PriceStore) -> None:
    await prices.insert_many([price(model, days=day) for model in "cab" for day in (-1, -2)])
    assert await models_of(prices, ALL, Slice(limit=2)) == ["a", "b"]
    assert await models_of(prices, ALL, Slice(limit=2, start=RowPlace("b", "b"))) == ["c"]
    back = Slice(limit=2, descending=True, start=RowPlace("c", "c"))
    assert await models_of(prices, ALL, back) == ["b", "a"]
    never = price("d", days=-3, price_id="never")
    await prices.insert(never)
    await prices.end(never, never.effective_from)
    assert await models_of(prices, ALL, Slice(limit=2, start=RowPlace("b", "b"))) == ["c"]


async def test_prices_are_listed_by_what_they_are(prices: PriceStore) -> None:
    versions = [
        price("a", price_id="p1"),
        price("ab", price_id="p2", provider="acme", source="litellm", import_id="i"),
        price("x/a", price_id="p3", provider="acme"),
    ]
    await prices.insert_many(versions)
    for filters, ids in (
        (PriceFilter(source="admin"), ["p1", "p3"]),
        (PriceFilter(provider="acme"), ["p2", "p3"]),
        (PriceFilter(import_id="i"), ["p2"]),
        (PriceFilter(pattern="a*"), ["p1", "p2"]),
        (PriceFilter(pattern="*[!b]", provider="*"), ["p1"]),
        (PriceFilter(pattern="a.*"), []),
    ):
        found = await prices.list(filters, after=None, limit=9)
        assert [version.price_id for version in found] == ids
        assert [version.price_id for version in versions if filters.matches(version)] == ids
        models = await models_of(prices, filters, Slice(limit=9))
        assert models == [version.model for version in found]
    assert await models_of(
        prices, PriceFilter(pattern="*a*"), Slice(limit=1, start=RowPlace("a", "a"))
    ) == ["ab"]


async def test_an_import_is_ended_as_one(prices: PriceStore) -> None:
    first = [
        price(model, price_id=f"1{model}", import_id="i1", made_by="Ada", multiplier=Decimal("1.5"))
        for model in "abc"
    ]
    second = [price("a", price_id="2a", days=-2, import_id="i2"), price("z", price_id="own")]
    await prices.insert_many([*first, *second])
    newest, oldest = (await prices.imports(Slice(limit=9, descending=True))).rows
    assert (newest.import_id, newest.versions, newest.undone) == ("i2", 1, False)
    assert (oldest.versions, oldest.made_by, oldest.multiplier) == (3, "Ada", Decimal("1.5"))
    assert oldest.effective_from == first[0].effective_from
    older = Slice(limit=9, descending=True, start=RowPlace("i2", "i2"))
    assert (await prices.imports(older)).rows == [oldest]

    await prices.end(first[0], first[0].effective_from)
    found = await prices.find_import("i1")
    assert found is not None
    assert not found.undone
    await prices.end_import("i1", oldest.effective_from)
    ended = await prices.list(PriceFilter(import_id="i1"), after=None, limit=9)
    assert {version.effective_until for version in ended} == {oldest.effective_from}
    found = await prices.find_import("i1")
    assert found is not None
    assert found.undone
    for other in ("2a", "own"):
        version = await prices.get(other)
        assert version is not None
        assert version.effective_until is None
    assert await prices.find_import("none") is None


async def test_all_versions_are_read_page_by_page(prices: PriceStore) -> None:
    for start in (0, 600):
        await prices.insert_many(
            [price("m", price_id=f"p{n:04}") for n in range(start, start + 600)]
        )
    assert [version.price_id for version in await prices.all()] == [f"p{n:04}" for n in range(1200)]
