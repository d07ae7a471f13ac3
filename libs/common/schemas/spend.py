"""What a period has cost so far."""

import msgspec


class PeriodSpend(msgspec.Struct, frozen=True):
    """Nano-USD spent in a period; of two such figures the one of the higher revision is newer."""

    nusd: int = 0
    revision: int = 0
