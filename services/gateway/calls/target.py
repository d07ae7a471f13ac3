"""The targets that may serve a call, one for each deployment of its model, and their plan."""

from decimal import Decimal

import msgspec

from libs.common.schemas.price import AT_COST
from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import AnswerModel, Route, Timeouts, TranslationWay
from libs.common.schemas.usage import ClientFormat
from libs.common.settings import Secret
from services.gateway.formats import FORMATS


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a call.

    If `base_url` or `api_key` is None, LiteLLM chooses it; `credential` is resolved when the call
    is made. `paths` has the formats that it speaks; all others are translated. If not `relays`,
    generations in its own formats are written anew, too. Routing uses `rank`, `weight` and
    `deployment_id`. What it can do is what `profile` says, which is the route's, else the price
    map, else `defaults`, the provider's; `defaults_elsewhere` are those of a base URL that is not
    the provider's own and of a model that the map does not know. Its price is that of `priced_as`,
    or of its model, times `multiplier`; `region` counts where an answer does not tell one.
    `answer_model` is the route's word for whose name answers tell; without a route, what is relayed
    keeps the provider's.
    """

    deployment_id: str
    provider: str
    model: str
    base_url: str | None = None
    api_key: Secret | None = None
    credential: str | None = None
    key_variable: str | None = None
    paths: dict[ClientFormat, str] = {}
    rank: tuple[int, int] = (0, 0)
    weight: int = 1
    max_parallel: int | None = None
    timeouts: Timeouts = Timeouts()
    drop_params: bool = False
    relays: bool = True
    defaults: ProfileFields = ProfileFields()
    defaults_elsewhere: ProfileFields | None = None
    profile: ProfileFields | None = None
    translation: TranslationWay = "native"
    multiplier: Decimal = AT_COST
    priced_as: str | None = None
    region: str | None = None
    answer_model: AnswerModel | None = None

    def speaks(self, client_format: ClientFormat) -> bool:
        """Whether the client's bytes can pass unchanged."""
        return client_format in self.paths and (self.relays or not FORMATS[client_format].generates)

    @property
    def name(self) -> str:
        """`provider/model`, as prices and headers name it."""
        return f"{self.provider}/{self.model}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Deployments to try, and those for a request that is too long for them."""

    route: Route
    targets: tuple[Target, ...]
    context_targets: tuple[Target, ...] = ()
