"""The spend of a period so far."""

import msgspec


class PeriodSpend(msgspec.Struct, frozen=True):
    """Nano-USD spent in a period; of two such figures the one of the higher revision is newer."""

    nusd: int = 0
    revision: int = 0


class KeyPeriod(msgspec.Struct, frozen=True):
    """A key's period, by its first and its last day; None: ever."""

    user_id: str
    key_id: str
    days: tuple[str, str] | None
