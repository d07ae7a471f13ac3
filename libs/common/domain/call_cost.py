"""The cost of a whole call, in which several models may have run, each at its own price.

Invariants: every run is priced by itself, so that its own context chooses its rates; the sum is
rounded once. What has no price is a line that says so, never a part of another's.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal

import msgspec

from libs.common.domain.money import EXACT, plain_amount, round_to_nusd
from libs.common.domain.pricing import cost_of
from libs.common.domain.token_classes import total_tokens, used_classes
from libs.common.schemas.entry import Cost, CostLine
from libs.common.schemas.price import AT_COST, PROVIDER_REPORTED, PriceVersion
from libs.common.schemas.usage import ModelRun, RunRole, TokenCounts, TokenUsage

# Finds a price by a model's name at the call's provider; None means the model that was called.
PriceOf = Callable[[str | None], PriceVersion | None]

_CLASSES = TokenCounts.__struct_fields__
_SNAPSHOT = re.compile(r"[-@]\d{8}$")
_UNPRICED = Decimal(0)


class CostPart(msgspec.Struct, frozen=True, kw_only=True):
    """What one model is charged for; `model` None is the one that was called."""

    usage: TokenUsage
    model: str | None = None
    role: RunRole | None = None


class CallCost(msgspec.Struct, frozen=True, kw_only=True):
    """`price_id` is that of the first part. `unpriced` are the models without a price."""

    cost: Cost
    price_id: str | None
    unpriced: tuple[str | None, ...]


def cost_parts(usage: TokenUsage, model: str | None) -> list[CostPart]:
    """The call's own counts, and each run beside them. Empty if the call is free."""
    if not (usage.runs or usage.unbilled or usage.model):
        return [CostPart(usage=usage)]
    parts: list[CostPart] = []
    if not usage.unbilled:
        own_usage = msgspec.structs.replace(usage, runs=(), model=None)
        parts.append(CostPart(usage=own_usage, model=_other_model(usage.model, model)))
    parts += (
        CostPart(usage=_usage_of(run, usage), model=_other_model(run.model, model), role=run.role)
        for run in usage.runs
    )
    return parts


def models_of(usage: TokenUsage, model: str, priced_as: str | None = None) -> list[str]:
    """The models whose prices the call needs; its own may go by another name."""
    return list({part.model or priced_as or model for part in cost_parts(usage, model)})


def is_same_model(name: str, other: str) -> bool:
    """Providers name the snapshot that answered where the request named the model."""
    return _SNAPSHOT.sub("", name) == _SNAPSHOT.sub("", other)


def call_tokens(usage: TokenUsage) -> int:
    """Of all classes and runs."""
    return total_tokens(usage) + sum(map(total_tokens, usage.runs))


def cost_of_call(
    usage: TokenUsage,
    model: str | None,
    price_of: PriceOf,
    account_multiplier: Decimal,
    at: datetime,
) -> CallCost:
    """`model` is the one that was called, `at` the call's start."""
    parts = cost_parts(usage, model)
    prices = [price_of(part.model) for part in parts]
    if len(parts) == 1 and prices[0] is not None and parts[0].model is None:
        cost = cost_of(parts[0].usage, prices[0], account_multiplier, at=at)
        return CallCost(cost=cost, price_id=prices[0].price_id, unpriced=())
    if parts and _tells_all(usage, prices[0]):
        # The provider's own figure is for all that ran.
        parts, prices = parts[:1], prices[:1]
    priced = [(part, price) for part, price in zip(parts, prices, strict=True) if price is not None]
    costs = [(part, price, cost_of(part.usage, price, at=at)) for part, price in priced]
    shared = {price.multiplier for _, price in priced}
    # A multiplier that not all of the prices have goes into their lines.
    common = shared.pop() if len(shared) == 1 else AT_COST
    lines = [
        _line(line, part, price, price.multiplier if shared else AT_COST)
        for part, price, cost in costs
        for line in cost.lines
    ]
    usd = sum((line.amount for line in lines), Decimal(0))
    multiplier = plain_amount(EXACT.multiply(common, account_multiplier)) if priced else AT_COST
    unpriced = [part for part, price in zip(parts, prices, strict=True) if price is None]
    lines += (line for part in unpriced for line in _unpriced_lines(part))
    return CallCost(
        cost=Cost(
            cost_nusd=round_to_nusd(EXACT.multiply(usd, multiplier)),
            lines=tuple(_joined_lines(lines)),
            multiplier=multiplier,
            notes=tuple(dict.fromkeys(note for _, _, cost in costs for note in cost.notes)),
        ),
        price_id=next((price.price_id for part, price in priced if part.role is None), None),
        unpriced=tuple(dict.fromkeys(part.model for part in unpriced)),
    )


def _other_model(name: str | None, model: str | None) -> str | None:
    """None where it is the model that was called, or the snapshot of it that answered."""
    return None if name is None or (model is not None and is_same_model(name, model)) else name


def _usage_of(run: ModelRun, usage: TokenUsage) -> TokenUsage:
    """The run's tokens, served as the call was; an adviser is not as fast as the call asked."""
    counts = {name: getattr(run, name) for name in _CLASSES}
    return TokenUsage(
        **counts,
        service_tier=usage.service_tier,
        inference_geo=usage.inference_geo,
        speed=usage.speed if run.role in ("compaction", "fallback") else None,
    )


def _tells_all(usage: TokenUsage, price: PriceVersion | None) -> bool:
    return (
        price is not None
        and price.basis == PROVIDER_REPORTED
        and usage.provider_cost_usd is not None
    )


def _line(line: CostLine, part: CostPart, price: PriceVersion, multiplier: Decimal) -> CostLine:
    return CostLine(
        item=line.item,
        quantity=line.quantity,
        rate=plain_amount(EXACT.multiply(line.rate, multiplier)),
        amount=plain_amount(EXACT.multiply(line.amount, multiplier)),
        model=part.model,
        run=part.role,
        price_id=None if part.model is None else price.price_id,
    )


def _unpriced_lines(part: CostPart) -> Iterator[CostLine]:
    for name, tokens in used_classes(part.usage):
        yield CostLine(
            item=name,
            quantity=tokens,
            rate=_UNPRICED,
            amount=_UNPRICED,
            model=part.model,
            run=part.role,
            unpriced=True,
        )


def _joined_lines(lines: list[CostLine]) -> Iterator[CostLine]:
    """One line for all that has the same name and rate: there may be many runs."""
    by_key: dict[tuple[object, ...], CostLine] = {}
    for line in lines:
        key = (line.model, line.run, line.item, line.rate, line.unpriced)
        other = by_key.get(key)
        by_key[key] = line if other is None else _sum_of(other, line)
    yield from by_key.values()


def _sum_of(first: CostLine, second: CostLine) -> CostLine:
    return msgspec.structs.replace(
        first,
        quantity=first.quantity + second.quantity,
        amount=EXACT.add(first.amount, second.amount),
    )
