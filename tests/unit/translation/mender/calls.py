"""A client's body as a deployment gets it: read, mended and written, by the bundled map."""

from functools import cache
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from libs.common.settings import Secret
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.directory.providers import ModelDirectory
from services.gateway.settings import Settings
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.mender import mend
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.profiles import Profiles
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.responses import RESPONSES

LANGUAGES: dict[ClientFormat, Language] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
}
ENVIRON = {"HOSTED_VLLM_API_BASE": "http://vllm/v1"}


class Sent(msgspec.Struct, frozen=True):
    body: dict[str, Any]
    adapted: tuple[str, ...]
    dropped: tuple[str, ...]


@cache
def _directory() -> tuple[ModelDirectory, Profiles]:
    settings = Settings(mongo_uri=Secret("mongodb://m"), redis_url=Secret("redis://r"))
    price_map = PriceMap.open(None)
    return ModelDirectory(settings, price_map, ENVIRON), Profiles(price_map)


@cache
def profile_of(name: str) -> tuple[str, Profile]:
    directory, profiles = _directory()
    target = directory.resolve(name)
    assert target is not None
    return target.model, profiles.of(target)


def mend_body(
    client: ClientFormat, body: dict[str, Any], name: str, to: ClientFormat, *, drops: bool = False
) -> Sent:
    """Raises InvalidRequest as the gateway does."""
    model, profile = profile_of(name)
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    report = Report(LANGUAGES[client].paths, drops=drops)
    request = LANGUAGES[client].read_request(fields)
    mended = mend(request, profile, report, to)
    provider_fields = LANGUAGES[to].write_request(mended, model, profile, report)
    decoded = msgspec.json.decode(msgspec.json.encode(provider_fields))
    return Sent(decoded, report.adapted_params, report.dropped_params)
