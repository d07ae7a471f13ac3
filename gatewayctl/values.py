"""JSON whose numbers keep every digit, and selections from it."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from gatewayctl.errors import Misused

if TYPE_CHECKING:
    import msgspec

Row = dict[str, Any]


@cache
def _encoder() -> "msgspec.json.Encoder":
    import msgspec

    return msgspec.json.Encoder(decimal_format="number")


@cache
def _decoder() -> "msgspec.json.Decoder[Any]":
    import msgspec

    return msgspec.json.Decoder(float_hook=Decimal)


def encode_json(value: Any) -> bytes:
    return _encoder().encode(value)


def decode_json(content: bytes | str) -> Any:
    """Raises ValueError: msgspec's errors are ones."""
    return _decoder().decode(content)


def value_at(row: Any, path: str) -> Any:
    """The value at a path such as `budget.limit_usd`; None without one."""
    for name in path.split("."):
        if not isinstance(row, dict):
            return None
        row = row.get(name)
    return row


def with_fields(row: Row, fields: Sequence[str]) -> Row:
    """Raises Misused for a field that the row does not have."""
    for field in fields:
        if field.partition(".")[0] not in row:
            raise Misused(
                f"--json: there is no field {field!r}.", details=[f"there are: {', '.join(row)}"]
            )
    return {field: value_at(row, field) for field in fields}


def check_query(expression: str) -> None:
    """Raises Misused for an invalid JMESPath expression."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        raise Misused(f"--query: {error}") from None


def query_result(value: Any, expression: str) -> Any:
    """The result of a JMESPath expression. Raises Misused."""
    import jmespath
    from jmespath import functions
    from jmespath.exceptions import JMESPathError

    # Its functions tell types by their names, and would take an exact number for no number.
    functions.TYPES_MAP["Decimal"] = "number"
    if "Decimal" not in functions.REVERSE_TYPES_MAP["number"]:
        functions.REVERSE_TYPES_MAP["number"] += ("Decimal",)
    try:
        return jmespath.search(expression, value)
    except (JMESPathError, ArithmeticError) as error:
        raise Misused(f"--query: {error}") from None
