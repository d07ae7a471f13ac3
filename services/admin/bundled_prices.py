"""Reads LiteLLM's bundled map for administrators: by name, by id, page by page."""

from libs.common.errors import NotFound
from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo.prices import PriceFilter
from libs.common.storage.mongo.slices import Slice, by_id
from libs.common.storage.prices.price_map import MapModel, PriceMap


def mapped(price_map: PriceMap, model: str) -> MapModel | None:
    """The row by the map's own name of the model, or by one qualified by its provider."""
    found = price_map.get(model)
    if found is None and "/" in model:
        provider, _, name = model.partition("/")
        found = price_map.find(provider, name)
    return found


def routed_name(row: MapModel) -> str:
    """The model's name at its provider."""
    return row.price.model.removeprefix(f"{row.provider}/")


def rows_in(price_map: PriceMap, filters: PriceFilter, part: Slice) -> dict[str, MapModel]:
    """By name and in its order, those of the slice that the filter lets through, and one more."""
    rows: dict[str, MapModel] = {}
    for name in sorted(price_map.names(), reverse=part.descending):
        row = price_map.get(name) if part.covers(by_id(name)) else None
        if row is not None and filters.matches(row.price):
            rows[name] = row
            if len(rows) > part.limit:
                break
    return rows


def priced_by_id(price_map: PriceMap, price_id: str) -> PriceVersion:
    """Raises NotFound, for an id of another release of the map too."""
    row = price_map.get(price_id.removeprefix("litellm:").rpartition("@")[0])
    if row is None or row.price.price_id != price_id:
        raise NotFound(f"There is no price '{price_id[:128]}'.", param="price_id")
    return row.price
