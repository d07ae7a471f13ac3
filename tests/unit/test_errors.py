import inspect
import re
from collections import Counter

from libs.common import errors
from libs.common.errors import (
    AppError,
    BudgetExceeded,
    FieldError,
    UpstreamRefused,
    ValidationFailed,
)

_TREE = [
    member
    for member in vars(errors).values()
    if inspect.isclass(member) and issubclass(member, AppError)
]


def test_no_two_errors_share_a_code() -> None:
    codes = Counter(error.code for error in _TREE)
    assert [code for code, count in codes.items() if count > 1] == []


def test_each_error_has_a_status_and_a_stable_code() -> None:
    for error in _TREE:
        assert 400 <= error.status <= 504, error
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code), error


def test_sdks_do_not_retry_a_permanent_refusal() -> None:
    # The SDKs retry 409 and 429 on their own, and sleep for as long as they are told.
    refusals = {error.code for error in _TREE if error.should_retry is False}
    assert refusals >= {"budget_exceeded", "invalid_api_key", "api_key_revoked", "conflict"}


def test_an_error_includes_its_details() -> None:
    error = BudgetExceeded("No money left.", param="model", retry_after_s=7)
    assert (str(error), error.message) == ("No money left.", "No money left.")
    assert (error.param, error.retry_after_s) == ("model", 7)


def test_a_failed_validation_names_every_field() -> None:
    error = ValidationFailed([FieldError("name", "is empty"), FieldError("budget", "is negative")])
    fields = [(each.field, each.message) for each in error.wrong_fields]
    assert fields == [("name", "is empty"), ("budget", "is negative")]
    assert error.message == "name: is empty; budget: is negative"


def _drawing(error: type[AppError], depth: int = 1) -> list[str]:
    """The drawing's lines: an error, then what derives from it, by status and name."""
    # The provider's status, which the class cannot know.
    status = "the provider's" if error is UpstreamRefused else error.status
    derived = sorted(error.__subclasses__(), key=lambda each: (each.status, each.__name__))
    lines = [f"{'    ' * depth}{error.__name__} {status}"]
    return lines + [line for each in derived if each in _TREE for line in _drawing(each, depth + 1)]


def test_the_docstring_draws_the_tree() -> None:
    drawing = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    assert drawing == _drawing(AppError)
