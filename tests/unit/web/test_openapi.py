"""How a document names the types that it describes."""

from typing import Any, Generic, TypeVar

import msgspec
import pytest
from msgspec import defstruct

from libs.common.web.openapi import JSON, ApiOperation, OperationReply, Service, document_of

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    data: list[T]


class Row(msgspec.Struct):
    name: str


def described(*answers: Any) -> dict[str, Any]:
    operations = [
        ApiOperation(
            method="GET",
            path=f"/{number}",
            operation_id=f"show_{number}",
            summary="Show it",
            tag="rows",
            replies={200: OperationReply(description="Done", content={JSON: answer})},
        )
        for number, answer in enumerate(answers)
    ]
    return document_of(
        Service(title="Rows", version="1", description="Rows", keys={}, operations=operations)
    )


def test_a_page_has_the_name_of_its_rows() -> None:
    document = described(Page[Row])
    assert set(document["components"]["schemas"]) == {"Row", "RowPage"}
    answer = document["paths"]["/0"]["get"]["responses"]["200"]["content"][JSON]["schema"]
    assert answer == {"$ref": "#/components/schemas/RowPage"}


@pytest.mark.parametrize("other", ["Row", "RowPage"])
def test_two_types_of_one_name_are_refused(other: str) -> None:
    twin = defstruct(other, [("value", int)], module="elsewhere")
    with pytest.raises(ValueError, match="share a name"):
        described(Page[Row], twin)
