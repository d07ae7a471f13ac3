"""Amounts on the command line: exact, never a float."""

from decimal import Decimal, InvalidOperation

import typer


def USD(text: str) -> Decimal:  # noqa: N802 - it is shown as the type of an option
    """Raises typer.BadParameter. The API has the bounds."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise typer.BadParameter(f"{text!r} is no amount in USD, such as 12.50")
    return amount
