"""The formats of an export, and the choice among them for a request.

`?format=` wins over `Accept`, which a browser or a library sends unasked.
"""

import importlib.util
from collections.abc import Sequence

import msgspec

from libs.common.errors import NotAcceptable

_MAX_ACCEPTED = 32


class ExportFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`media_type` is what `Accept` has to name; `needs` is a package that may be missing."""

    name: str
    media_type: str
    content_type: str
    needs: str | None = None

    @property
    def is_there(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


CSV = ExportFormat(
    name="csv", media_type="text/csv", content_type="text/csv; charset=utf-8; header=present"
)
NDJSON = ExportFormat(
    name="ndjson", media_type="application/x-ndjson", content_type="application/x-ndjson"
)
PARQUET = ExportFormat(
    name="parquet",
    media_type="application/vnd.apache.parquet",
    content_type="application/vnd.apache.parquet",
    needs="pyarrow",
)
JSON = ExportFormat(name="json", media_type="application/json", content_type="application/json")


def chosen_format(name: str | None, accept: str, offered: Sequence[ExportFormat]) -> ExportFormat:
    """The offered format of that name, else the one with the best quality in `Accept`.

    The first of those that are accepted equally. Raises NotAcceptable.
    """
    if name is not None:
        chosen = next(each for each in offered if each.name == name)
    else:
        chosen = _accepted(accept, offered)
    if not chosen.is_there:
        raise NotAcceptable(
            f"This service cannot write {chosen.name}: its `{chosen.name}` extra "
            f"({chosen.needs}) is not installed. Ask for another format.",
            param="format",
        )
    return chosen


def _accepted(accept: str, offered: Sequence[ExportFormat]) -> ExportFormat:
    if not accept.strip():
        return offered[0]
    best, best_quality = None, 0.0
    for each in offered:
        quality = _quality(accept, each.media_type)
        if quality > best_quality and (each.is_there or best is None):
            best, best_quality = each, quality
    if best is None:
        media_types = ", ".join(each.media_type for each in offered)
        names = ", ".join(each.name for each in offered)
        raise NotAcceptable(
            f"`Accept` names none of {media_types}. Send one of them, or `?format=` with one of "
            f"{names}.",
            param="format",
        )
    return best


def _quality(accept: str, media_type: str) -> float:
    """The quality of the most specific range that matches the media type; 0 without one."""
    kind = media_type.partition("/")[0]
    qualities: dict[str, float] = {}
    for part in accept.split(",")[:_MAX_ACCEPTED]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        qualities.setdefault(name, _weight(parameters))
    for name in (media_type, f"{kind}/*", "*/*"):
        if name in qualities:
            return qualities[name]
    return 0.0


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
