"""Money is an int of nano-USD (1e-9 USD); prices are Decimals. No float ever touches either.

Invariants: a conversion is exact or refused; `nusd_to_usd(usd_to_nusd(x)) == x`.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation

NUSD_PER_USD = 1_000_000_000

# Redis' scripts compute in doubles, which hold integers exactly up to this amount (about 9 M USD).
MAX_NUSD = 2**53 - 1

# Far above any budget. Without a bound, turning `1e900000` into an int takes half a minute.
_MAX_USD = Decimal(10) ** 20

# Wide enough that products of token counts and rates, and their sums, are never rounded.
EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])
_ROUNDING = Context(prec=80, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
_NUSD = Decimal(1)


def usd_to_nusd(usd: Decimal) -> int:
    """Raises ValueError where `usd` is not finite, out of range or finer than a nano-USD."""
    if not usd.is_finite():
        raise ValueError("must be a finite number")
    if usd.copy_abs() > _MAX_USD:
        raise ValueError("is out of range")
    try:
        nusd = EXACT.multiply(usd, Decimal(NUSD_PER_USD))
        whole = EXACT.to_integral_exact(nusd)
    except (Inexact, InvalidOperation):
        raise ValueError("must have at most 9 decimals") from None
    return int(whole)


def nusd_to_usd(nusd: int) -> Decimal:
    return plain_amount(EXACT.scaleb(Decimal(nusd), -9))


def usd_text(nusd: int) -> str:
    """The exact amount as text without an exponent, such as `0.000012`."""
    whole, rest = divmod(abs(nusd), NUSD_PER_USD)
    sign = "-" if nusd < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def plain_amount(amount: Decimal) -> Decimal:
    """The same number without trailing zeros; a whole number has no exponent."""
    if amount == amount.to_integral_value():
        return EXACT.quantize(amount, _NUSD)
    return amount.normalize(EXACT)


def round_to_nusd(usd: Decimal) -> int:
    """Rounds to whole nano-USD, half to even. No other function rounds an amount."""
    return int(_ROUNDING.quantize(_ROUNDING.multiply(usd, Decimal(NUSD_PER_USD)), _NUSD))
