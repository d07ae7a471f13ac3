"""Keys, accounts and prices, cached until they are invalidated."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from math import inf
from types import MappingProxyType

import msgspec

from libs.common.cache import Loaded, LoadingCache
from libs.common.domain.price_lookup import PATTERNS, find_price, matches, model_names
from libs.common.domain.rotation import held_by
from libs.common.domain.tool_fees import WEB_SEARCH, fee_of
from libs.common.errors import ModelUnpriced, Unauthenticated, Unavailable
from libs.common.schemas.account import Account
from libs.common.schemas.invalidation import Invalidation
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import PROVIDER_REPORTED, PriceVersion
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.prices.provider_fees import with_provider_fees
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Target
from services.gateway.directory.caches import DATABASE_AWAY, Caches
from services.gateway.directory.deployment_prices import DeploymentPrices
from services.gateway.formats.named_models import NamedModel

_NO_TOOLS: Mapping[str, int] = MappingProxyType({})


class _Prices(msgspec.Struct, frozen=True):
    admin: tuple[PriceVersion, ...]
    bundled: PriceVersion | None


class Directory:
    """Reads through bounded caches. Raises Unavailable if it needs MongoDB in an outage.

    `searches` tells whether a translated call's search reaches the target.
    """

    def __init__(
        self,
        database: Database,
        price_map: PriceMap,
        caches: Caches,
        searches: Callable[[Target], bool],
    ) -> None:
        self._price_map = price_map
        self._searches = searches
        self._price_store = PriceStore(database)
        keys, accounts = KeyStore(database), AccountStore(database)
        shared_keys = caches.in_redis("key", ApiKey)
        shared_accounts = caches.in_redis("account", Account)

        async def held_key(hashed: str) -> ApiKey | None:
            key = await keys.get_by_hash(hashed)
            return None if key is None else held_by(key, hashed)

        self._keys: LoadingCache[ApiKey] = caches.in_memory(
            "key", lambda hashed: shared_keys.get(hashed, held_key)
        )
        self._accounts: LoadingCache[Account] = caches.in_memory(
            "account", lambda user_id: shared_accounts.get(user_id, accounts.get)
        )
        self._prices: LoadingCache[_Prices] = caches.in_memory("price", self._load_prices)
        self._deployment_prices = DeploymentPrices()
        self._shared_prices = caches.in_redis("price", tuple[PriceVersion, ...])

    async def principal(self, secret_hash: str) -> Principal:
        """Raises Unauthenticated for an unknown key."""
        try:
            key = await self._keys.get(secret_hash)
            account = None if key is None else await self._accounts.get(key.user_id)
        except DATABASE_AWAY as error:
            raise _database_away() from error
        if key is None or account is None:
            raise Unauthenticated(
                "This API key is not known. Check for a typing error, or ask your administrator."
            )
        return Principal(key, account)

    async def prices(
        self,
        targets: Iterable[Target],
        at: datetime,
        *,
        tools: Mapping[str, int] = _NO_TOOLS,
        client_format: ClientFormat = "chat",
        models: Sequence[NamedModel] = (),
    ) -> dict[str, PriceVersion]:
        """Prices of the priced deployments. Raises ModelUnpriced if all are unpriced.

        A call needs a price, a fee for each of the `tools` that it may use, and a price for each of
        the `models` that it names.
        """
        prices: dict[str, PriceVersion] = {}
        unpriced: ModelUnpriced | None = None
        for target in targets:
            try:
                price = await self._price(target.provider, target.priced_as or target.model, at)
                if tools and price.basis != PROVIDER_REPORTED:
                    self._check_fees(target, price, tools, client_format)
                if models:
                    await self.prices_of_models(target, models, at)
            except ModelUnpriced as error:
                unpriced = error
            else:
                prices[target.deployment_id] = self._deployment_prices.price_at(target, price)
        if not prices and unpriced is not None:
            raise unpriced
        return prices

    async def prices_of_models(
        self, target: Target, models: Iterable[NamedModel], at: datetime
    ) -> tuple[PriceVersion, ...]:
        """Prices of the models that a call names beside its own, by the provider's names.

        Raises ModelUnpriced if one is unpriced.
        """
        return tuple(
            [
                self._deployment_prices.price_at(
                    target, await self._price(target.provider, each.name, at, param=each.path)
                )
                for each in models
            ]
        )

    async def _price(
        self, provider: str, model: str, at: datetime, *, param: str = "model"
    ) -> PriceVersion:
        try:
            prices = await self._prices.get(f"{provider}/{model}")
        except DATABASE_AWAY as error:
            raise _database_away() from error
        if prices is not None:
            price = prices.bundled
            if prices.admin:
                price = find_price(prices.admin, provider, model, at) or price
            if price is not None:
                return price
        raise ModelUnpriced(
            f"The model '{provider}/{model}'{_naming_clause(param)} has no price, so it cannot be "
            "called. An administrator can set one with POST /admin/costs; 0 makes it free.",
            param=param,
        )

    def invalidate(self, invalidation: Invalidation) -> None:
        """Drops the cached copy of a changed object."""
        match invalidation.kind:
            case "key":
                self._keys.drop(invalidation.id)
            case "account":
                self._accounts.drop(invalidation.id)
            case "price":
                # Aliases and prefixes lead to prices too, and prices change rarely: drop all.
                self._prices.clear()
            case "route":
                # The router has its own cache.
                pass

    def _check_fees(
        self,
        target: Target,
        price: PriceVersion,
        tools: Mapping[str, int],
        client_format: ClientFormat,
    ) -> None:
        """Checks only tools that can reach the provider: a translation carries searches to those
        that can search, and rejects or drops other tools that another provider runs.
        """
        for tool, uses in tools.items():
            if not uses or fee_of(price, tool) is not None:
                continue
            is_search = tool.startswith(WEB_SEARCH)
            if client_format in target.paths or (is_search and self._searches(target)):
                raise _no_fee(target, tool)

    def invalidate_all(self) -> None:
        """Clears all caches, since invalidations may have been missed."""
        for cache in (self._keys, self._accounts, self._prices):
            cache.clear()

    async def _load_prices(self, routed: str) -> Loaded[_Prices] | None:
        """Reads the prices of both names, so that a new price of either is found at once."""
        provider, _, model = routed.partition("/")
        names = model_names(provider, model)
        *by_name, patterns = await asyncio.gather(
            *(self._shared_prices.get(name, self._versions) for name in names),
            self._shared_prices.get(PATTERNS, self._patterns),
        )
        row = self._price_map.find(provider, model)
        sources = [loaded for loaded in (*by_name, patterns) if loaded is not None]
        versions = {
            version.price_id: with_provider_fees(version, provider, model)
            for loaded in sources
            for version in loaded.value
            if loaded is not patterns or matches(version, names)
        }
        if not versions and row is None:
            return None
        prices = _Prices(tuple(versions.values()), None if row is None else row.price)
        return Loaded(prices, min((loaded.for_s for loaded in sources), default=inf))

    async def _versions(self, name: str) -> tuple[PriceVersion, ...] | None:
        return tuple(await self._price_store.versions_of([name])) or None

    async def _patterns(self, _: str) -> tuple[PriceVersion, ...] | None:
        return tuple(await self._price_store.patterns()) or None


def _naming_clause(param: str) -> str:
    return "" if param == "model" else f", which '{param}' names,"


def _no_fee(target: Target, tool: str) -> ModelUnpriced:
    return ModelUnpriced(
        f"The price of '{target.provider}/{target.model}' has no fee for the tool '{tool}', so it "
        "cannot be called with it. An administrator can set one in 'tool_fees' with POST "
        "/admin/costs; 0 makes it free.",
        param="tools",
    )


def _database_away() -> Unavailable:
    return Unavailable("The gateway cannot reach its database. Try again in a moment.")
