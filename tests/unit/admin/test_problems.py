"""Every error that the admin service can answer has a description, here and in the docs."""

import ast
from pathlib import Path

import pytest

from libs.common import errors
from libs.common.errors import AppError, Conflict, FieldError, ModelUnpriced, ValidationFailed
from services.admin.problems import KINDS, problem_of

_ROOT = Path(__file__).parents[3]


def _imported_errors() -> set[type[AppError]]:
    """The errors that modules of the service name."""
    found: set[type[AppError]] = set()
    for module in (_ROOT / "services/admin").rglob("*.py"):
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "libs.common.errors":
                classes = [getattr(errors, alias.name) for alias in node.names]
                found |= {each for each in classes if issubclass(each, AppError)}
    return found


def test_each_error_of_the_service_has_a_kind_of_its_status() -> None:
    imported = _imported_errors()
    assert len(imported) > 10
    for error in imported:
        assert KINDS[error.code].status == error.status, error


def test_statuses_ascend() -> None:
    statuses = [kind.status for kind in KINDS.values()]
    assert statuses == sorted(statuses)


@pytest.mark.parametrize("code", KINDS)
def test_the_docs_describe_each_kind(code: str) -> None:
    kind = KINDS[code]
    section = f"### {code}\n\n{kind.status}: {kind.title}. {kind.way_out}\n"
    page = (_ROOT / "docs/errors.md").read_text()
    assert section in page, f"docs/errors.md needs the section:\n{section}"
    assert page.count("### ") == len(KINDS)


def test_a_problem_names_its_request_and_its_fields() -> None:
    problem = problem_of(
        ValidationFailed([FieldError("a", "is wrong", allowed=["b", "c"]), FieldError("d", "is")]),
        "01a22732-662f-77f4-acfc-aae6c020bbed",
    )
    assert problem.instance == "urn:uuid:01a22732-662f-77f4-acfc-aae6c020bbed"
    assert [(each.field, each.detail, each.allowed or ()) for each in problem.errors] == [
        ("a", "is wrong", ("b", "c")),
        ("d", "is", ()),
    ]
    assert problem_of(Conflict("Taken.", param="name"), None).errors[0].field == "name"


def test_an_error_without_a_description_has_the_type_of_the_rfc() -> None:
    problem = problem_of(ModelUnpriced("No price."), None)
    assert (problem.type, problem.title, problem.status) == ("about:blank", "Bad Request", 400)
