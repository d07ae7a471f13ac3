"""The messages by which the admin service drops items from the gateways' caches."""

from typing import Literal

import msgspec

InvalidationKind = Literal["key", "account", "price", "route"]


class Invalidation(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is what caches look the object up by: a secret's hash, a user_id, a model's name."""

    kind: InvalidationKind
    id: str
