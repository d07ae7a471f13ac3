"""What the admin service tells the gateways to forget."""

from typing import Literal

import msgspec

InvalidationKind = Literal["key", "account", "price", "route"]


class Invalidation(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is what caches look the object up by: a secret's hash, a user_id, a model's name."""

    kind: InvalidationKind
    id: str
