"""What can be declared is what the admin API takes."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from gatewayctl.state import fields
from gatewayctl.state.fields import REQUIRED, FieldShape
from libs.common.schemas.price import PriceVersion
from services.admin.accounts import NewAccount
from services.admin.alerts.receivers import NewReceiver
from services.admin.budgets import BudgetBody, LimitsBody
from services.admin.cost_bodies import NewCost, TierBody
from services.admin.cost_hours import HoursBody
from services.admin.key_bodies import NewKey, RecordingBody
from services.admin.model_bodies import DeploymentBody, NewRoute, TimeoutsBody

# Of the terms of a price, which its body leaves to what is stored.
STORED = {
    each.name: None if each.default is msgspec.NODEFAULT else each.default
    for each in msgspec.structs.fields(PriceVersion)
}
# Short for another field, or for a request alone.
IDS = {"key_id", "receiver_id"}
NOT_DECLARED = {
    NewAccount: {"budget"},
    NewCost: {"inherit", "effective_from"},
    DeploymentBody: {"deployment_id"},
}


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (fields.ACCOUNT, NewAccount),
        (fields.KEY, NewKey),
        (fields.ROUTE, NewRoute),
        (fields.DEPLOYMENT, DeploymentBody),
        (fields.TIMEOUTS, TimeoutsBody),
        (fields.PRICE, NewCost),
        (fields.TIER, TierBody),
        (fields.HOURS, HoursBody),
        (fields.BUDGET, BudgetBody),
        (fields.LIMITS, LimitsBody),
        (fields.RECEIVER, NewReceiver),
        (fields.KEY.objects["recording"], RecordingBody),
    ],
)
def test_fields_and_their_defaults_are_those_of_the_bodies(
    shape: FieldShape, body: type[msgspec.Struct]
) -> None:
    by_name = {each.encode_name: each for each in msgspec.structs.fields(body)}
    for name in NOT_DECLARED.get(body, ()):
        del by_name[name]
    assert set(shape.own) - IDS == set(by_name)
    for name, default in shape.own.items():
        if default is REQUIRED or name in IDS:
            continue
        initial = by_name[name].default
        assert _plain(default) == _plain(STORED.get(name) if initial is UNSET else initial), name


def _plain(value: Any) -> Any:
    """Empty is empty, whatever of."""
    if value is msgspec.NODEFAULT:
        return "required"
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, (list, tuple)):
        return list(value) or None
    return value or None if not isinstance(value, (bool, int)) else value
