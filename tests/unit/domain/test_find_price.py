from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.price_lookup import find_price, model_names
from libs.common.schemas.price import PriceVersion
from tests.unit.builders import NOW, price


def found(*versions: PriceVersion, provider: str = "openai", model: str = "gpt-4o") -> str | None:
    version = find_price(versions, provider, model, NOW)
    assert find_price(versions[::-1], provider, model, NOW) == version
    return None if version is None else version.price_id


def test_names_are_tried_bare_first_then_qualified() -> None:
    assert model_names("openai", "gpt-4o") == ("gpt-4o", "openai/gpt-4o")


def test_a_model_without_a_price_is_not_found() -> None:
    assert found() is None
    assert found(price("gpt-4o-mini"), price("anthropic/gpt-4o")) is None


def test_a_price_of_another_provider_does_not_count() -> None:
    assert found(price(provider="azure")) is None


def test_the_exact_name_beats_the_qualified_name_beats_an_alias() -> None:
    exact, qualified = price("gpt-4o"), price("openai/gpt-4o")
    alias = price("omni", aliases=("gpt-4o", "openai/gpt-4o"))
    assert found(alias, qualified, exact) == exact.price_id
    assert found(alias, qualified) == qualified.price_id
    assert found(alias) == alias.price_id


def test_an_alias_can_be_qualified() -> None:
    assert found(price("omni", aliases=("openai/gpt-4o",))) is not None
    assert found(price("omni", aliases=("azure/gpt-4o",))) is None


def test_the_rank_of_a_name_counts_more_than_its_provider_or_age() -> None:
    exact = price("gpt-4o", days=-300)
    assert found(exact, price("openai/gpt-4o", provider="openai", days=-1)) == exact.price_id


def test_a_version_for_the_provider_beats_a_newer_one_for_all() -> None:
    own = price(provider="openai", days=-300)
    assert found(own, price(provider="*", days=-1)) == own.price_id


def test_the_newest_version_in_force_wins() -> None:
    current = price(days=-2)
    assert found(price(days=-30), current, price(days=1)) == current.price_id


@pytest.mark.parametrize(("ms", "in_force"), [(-1, True), (0, True), (1, False)])
def test_a_version_is_in_force_from_its_start(ms: int, in_force: bool) -> None:
    version = price(effective_from=NOW + timedelta(milliseconds=ms))
    assert (found(version) is not None) == in_force


def test_a_future_version_does_not_hide_the_alias_in_force() -> None:
    alias = price("omni", aliases=("gpt-4o",))
    assert found(price("gpt-4o", days=1), alias) == alias.price_id


@pytest.mark.parametrize(("ms", "in_force"), [(-1, False), (0, False), (1, True)])
def test_a_version_is_in_force_until_its_end(ms: int, in_force: bool) -> None:
    version = price(effective_until=NOW + timedelta(milliseconds=ms))
    assert (found(version) is not None) == in_force


def test_ending_a_version_does_not_restore_its_predecessor() -> None:
    ended = price(days=-2, effective_until=NOW)
    assert found(price(days=-30), ended) is None
    # Another line may still have a price.
    for other in (price(provider="openai"), price("openai/gpt-4o"), price(source="litellm")):
        assert found(price(days=-30), ended, other) == other.price_id


def test_a_version_that_ended_before_it_began_is_ignored() -> None:
    old = price(days=-30)
    start = NOW - timedelta(days=2)
    assert found(old, price(effective_from=start, effective_until=start)) == old.price_id


def test_an_alias_is_gone_once_a_version_without_it_takes_over() -> None:
    alias = price("omni", days=-30, aliases=("gpt-4o",))
    assert found(alias, price("omni", days=-2)) is None


def test_an_administrators_price_beats_an_import_under_any_name() -> None:
    imported = price("gpt-4o", provider="openai", source="litellm", days=-1)
    for own in (price("openai/gpt-4o", days=-300), price("omni", days=-300, aliases=("gpt-4o",))):
        assert found(imported, own) == own.price_id
    assert found(imported, price("gpt-4o", effective_until=NOW)) == imported.price_id


def test_of_two_versions_with_one_start_the_one_created_later_wins() -> None:
    earlier = price(price_id="b", created_at=NOW)
    later = price(price_id="a", created_at=NOW + timedelta(seconds=1))
    assert found(earlier, later) == "a"


def test_of_two_versions_created_at_once_the_choice_is_stable() -> None:
    assert found(price(price_id="a"), price(price_id="b")) == "b"


_versions = st.builds(
    price,
    st.sampled_from(["gpt-4o", "openai/gpt-4o", "other"]),
    days=st.integers(-3, 3),
    provider=st.sampled_from(["*", "openai", "azure"]),
    aliases=st.sampled_from([(), ("gpt-4o",), ("openai/gpt-4o",), ("azure/gpt-4o",)]),
    source=st.sampled_from(["admin", "litellm"]),
    effective_until=st.none() | st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days)),
)


def _numbered(versions: list[PriceVersion]) -> list[PriceVersion]:
    """Each version has an id of its own, which decides between those of the same moment."""
    return [
        msgspec.structs.replace(version, price_id=str(number))
        for number, version in enumerate(versions)
    ]


@given(st.lists(_versions, max_size=8).map(_numbered))
def test_the_price_found_is_in_force_for_the_provider_and_the_name(
    versions: list[PriceVersion],
) -> None:
    names = ("gpt-4o", "openai/gpt-4o")

    def superseded(version: PriceVersion) -> bool:
        return any(
            (other.source, other.model, other.provider)
            == (version.source, version.model, version.provider)
            and other.effective_from <= NOW
            and (version.effective_from, version.price_id) < (other.effective_from, other.price_id)
            and (other.effective_until is None or other.effective_until > other.effective_from)
            for other in versions
        )

    eligible = [
        v
        for v in versions
        if v.effective_from <= NOW
        and (v.effective_until is None or v.effective_until > NOW)
        and v.provider in ("*", "openai")
        and (v.model in names or set(names) & set(v.aliases))
        and not superseded(v)
    ]
    version = find_price(versions, "openai", "gpt-4o", NOW)
    if version is None:
        assert not eligible
    else:
        assert version in eligible
        assert version.source == "admin" or not [v for v in eligible if v.source == "admin"]


def test_a_pattern_covers_the_names_of_a_model() -> None:
    assert found(price("gpt-4*")) is not None
    assert found(price("openai/*")) is not None
    assert found(price("gpt-4?")) is not None
    assert found(price("gpt-[45]o")) is not None
    assert found(price("omni", aliases=("gpt-4*",))) is not None
    assert found(price("GPT-4*"), price("claude-*"), price("azure/*"), price("*", days=1)) is None


def test_any_name_beats_a_pattern_and_a_longer_pattern_a_shorter_one() -> None:
    alias = price("omni", aliases=("gpt-4o",), days=-300)
    assert found(price("gpt-4o*"), alias) == alias.price_id
    longer = price("gpt-4*", days=-300)
    assert found(price("gpt-*"), longer, price("*", provider="openai")) == longer.price_id
    own = price("gpt-*", provider="openai", days=-300)
    assert found(price("gpt-*"), own) == own.price_id


def test_an_administrators_pattern_beats_an_imported_name() -> None:
    assert found(price("gpt-*"), price("gpt-4o", source="litellm")) == "*:gpt-*@-1"


_TUNED = "ft:gpt-4.1-mini-2025-04-14:acme::Abc123"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["ft:gpt-4.1-mini-2025-04-14"], "ft:gpt-4.1-mini-2025-04-14"),
        (["openai/ft:gpt-4.1-mini-2025-04-14"], "openai/ft:gpt-4.1-mini-2025-04-14"),
        (["ft:gpt-4.1-mini-2025-04-14", _TUNED], _TUNED),
        # The base of the fine-tuned model is another model, with another price.
        (["gpt-4.1-mini-2025-04-14"], None),
        (["ft:gpt-4.1-mini*"], "ft:gpt-4.1-mini*"),
        (["ft:gpt-4.1-2025-04-14", "ft:gpt-4.1-mini"], None),
    ],
)
def test_a_fine_tuned_model_costs_what_its_kind_does(names: list[str], chosen: str | None) -> None:
    prices = [price(name) for name in names]
    expected = None if chosen is None else f"*:{chosen}@-1"
    assert found(*prices, model=_TUNED) == expected


def test_a_fine_tuned_name_without_an_owner_has_no_other_names() -> None:
    assert model_names("openai", "ft:gpt-4o") == ("ft:gpt-4o", "openai/ft:gpt-4o")
