"""The mender: every rule does what the table says, and none of them is in vain."""

from collections.abc import Iterable
from functools import partial

import pytest

from libs.common.errors import InvalidRequest
from services.gateway.upstream.translation import mender
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.mender import Rule, mend, rules_for
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.mender.concerns import concerns_of
from services.gateway.upstream.translation.refusals import Report
from tests.unit.translation.mender.cases import CASES as OF_FORMATS
from tests.unit.translation.mender.cases import Case
from tests.unit.translation.mender.library_cases import LIBRARY_CASES

ALL_RULES: set[Rule] = {
    rule
    for name, value in vars(mender).items()
    if name.isupper() and isinstance(value, tuple)
    for rule in value
}
CASES = [*OF_FORMATS, *LIBRARY_CASES]
NAMES = [case.name for case in CASES]


def outcome(
    case: Case, rules: Iterable[Rule], *, drops: bool
) -> tuple[Request | str | None, tuple[str, ...], tuple[str, ...]]:
    """What is sent, or the path of what is refused; with what is adapted and left out."""
    report = Report(case.paths, drops=drops)
    request = case.request
    try:
        for rule in rules:
            request = rule(request, Aim(case.profile, report, case.to))
    except InvalidRequest as error:
        return error.param, (), ()
    return request, report.adapted_params, report.dropped_params


def expected(case: Case) -> tuple[Request | str | None, tuple[str, ...], tuple[str, ...]]:
    if case.sent is None:
        return case.refused, (), ()
    return case.sent, case.adapted, case.dropped


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_request_is_mended(case: Case) -> None:
    assert outcome(case, rules_for(case.profile, case.to), drops=True) == expected(case)


def test_the_mender_leaves_out_only_what_would_change_nothing() -> None:
    for case in CASES:
        found = outcome(case, [partial(mend_case, case)], drops=True)
        assert found == expected(case), case.name


def mend_case(case: Case, request: Request, aim: Aim) -> Request:
    return mend(request, case.profile, aim.report, case.to)


def test_a_rule_changes_nothing_in_a_request_without_its_concern() -> None:
    kinds = {(case.profile, case.to): case for case in CASES}.values()
    for rule, about in mender.ABOUT.items():
        for case in CASES:
            if about & concerns_of(case.request):
                continue
            for kind in kinds:
                report = Report(case.paths, drops=False)
                same = rule(case.request, Aim(kind.profile, report, kind.to))
                assert same is case.request, (rule, case.name)
                assert not report.has_changed, (rule, case.name)


def test_a_dropped_field_is_refused_unless_the_route_drops_fields() -> None:
    for case in CASES:
        if case.dropped:
            refused = outcome(case, rules_for(case.profile, case.to), drops=False)
            assert refused == (case.dropped[0], (), ()), case.name


def test_without_its_rule_a_case_fails() -> None:
    for case in CASES:
        rules = [rule for rule in rules_for(case.profile, case.to) if rule is not case.rule]
        assert outcome(case, rules, drops=True) != expected(case), case.name


def test_every_rule_has_a_case() -> None:
    assert ALL_RULES - {case.rule for case in CASES} == set()


def test_mending_is_idempotent() -> None:
    for case in CASES:
        if case.sent is not None:
            again = mend(case.sent, case.profile, Report(case.paths, drops=True), case.to)
            assert again == case.sent, case.name
