"""Which price version a model has at a time.

Invariants: what an administrator set beats what was imported, whatever name it goes by; an exact
name beats a pattern. What was superseded or ended does not come back.
"""

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from libs.common.schemas.price import PriceVersion

# The name under which all versions with a pattern are cached and announced.
PATTERNS = "*"
_WILDCARDS = "*?["
_FINE_TUNED = "ft:"


def model_names(provider: str, model: str) -> tuple[str, ...]:
    """The names under which a routed model's price is looked up, in order.

    `ft:gpt-4.1-mini:acme::id` costs what is set for it, else what `ft:gpt-4.1-mini` does.
    """
    names = (model, f"{provider}/{model}")
    if not model.startswith(_FINE_TUNED):
        return names
    base = ":".join(model.split(":", 2)[:2])
    return names if base == model else (*names, base, f"{provider}/{base}")


def is_pattern(name: str) -> bool:
    """Whether a price's name has the wildcards that keys' `allowed_models` accept."""
    return any(wildcard in name for wildcard in _WILDCARDS)


def has_pattern(version: PriceVersion) -> bool:
    return is_pattern(version.model) or any(is_pattern(alias) for alias in version.aliases)


def matches(version: PriceVersion, names: Iterable[str]) -> bool:
    """Whether one of the version's patterns covers one of the names."""
    return _longest_match(version, tuple(names)) > 0


def find_price(
    versions: Iterable[PriceVersion], provider: str, model: str, at: datetime
) -> PriceVersion | None:
    """The version in force at `at`: by exact name, then provider-qualified, then alias or pattern.

    A version for the provider itself beats one for every provider; then the newest wins.
    """
    in_force = versions_in_force((v for v in versions if v.provider in ("*", provider)), at)
    for source in ("admin", "litellm"):
        found = _ranked([v for v in in_force if v.source == source], provider, model)
        if found is not None:
            return found
    return None


def versions_in_force(versions: Iterable[PriceVersion], at: datetime) -> list[PriceVersion]:
    """Of each line (a model's price at a provider, from one source) the version that counts then.

    That is the one that took over last; where it has ended, the line has none.
    """
    latest: dict[tuple[str, str, str], PriceVersion] = {}
    for version in versions:
        until = version.effective_until
        if version.effective_from > at or (until is not None and until <= version.effective_from):
            continue
        line = (version.source, version.provider, version.model)
        latest[line] = max(latest.get(line, version), version, key=_takes_over)
    return [v for v in latest.values() if v.effective_until is None or at < v.effective_until]


def _takes_over(version: PriceVersion) -> tuple[datetime, datetime, str]:
    return version.effective_from, version.created_at, version.price_id


def _ranked(in_force: list[PriceVersion], provider: str, model: str) -> PriceVersion | None:
    if not in_force:
        return None
    names = model_names(provider, model)
    ranked = [[v for v in in_force if v.model == name] for name in names]
    ranked.append([v for v in in_force if any(name in v.aliases for name in names)])
    for candidates in ranked:
        if candidates:
            return max(candidates, key=lambda v: (v.provider != "*", _takes_over(v)))
    covering = [(_longest_match(v, names), v) for v in in_force]
    covering = [(length, v) for length, v in covering if length > 0]
    if not covering:
        return None
    # The longer pattern says more about the model.
    _, found = max(
        covering, key=lambda each: (each[0], each[1].provider != "*", *_takes_over(each[1]))
    )
    return found


def _longest_match(version: PriceVersion, names: tuple[str, ...]) -> int:
    return max(
        (
            len(pattern)
            for pattern in (version.model, *version.aliases)
            if is_pattern(pattern) and any(fnmatchcase(name, pattern) for name in names)
        ),
        default=0,
    )
