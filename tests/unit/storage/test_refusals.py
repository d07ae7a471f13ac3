"""What MongoDB refuses for good, and what the ledger worker tries again for as long as it takes."""

import pytest

from libs.common.storage.mongo.driver import OperationFailure, Refusal, refusal


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
def test_what_lies_in_the_deployment_is_never_a_document_at_fault(
    code: int, expected: Refusal | None
) -> None:
    assert refusal(OperationFailure("refused", code)) == expected
