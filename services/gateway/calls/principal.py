"""The caller of a call."""

import msgspec

from libs.common.schemas.account import Account
from libs.common.schemas.key import ApiKey


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, and who pays."""

    key: ApiKey
    account: Account
