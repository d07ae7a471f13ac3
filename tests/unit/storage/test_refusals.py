"""What MongoDB refuses for good, and what the ledger worker tries again for as long as it takes."""

import pytest

from libs.common.storage.mongo.driver import OperationFailure, WriteRefusal, refusal


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (13, None),  # Unauthorized: the user's role is wrong, not the document.
        (18, None),  # AuthenticationFailed
        (112, None),  # WriteConflict
        (121, "document"),  # DocumentValidationFailure
        (59, "unknown"),  # CommandNotFound
    ],
)
def test_operational_failures_are_not_blamed_on_a_document(
    code: int, expected: WriteRefusal | None
) -> None:
    assert refusal(OperationFailure("refused", code)) == expected
