"""`make bench-admin` over a small ledger: it asks what there is, and its checks hold."""

import re

import pytest

from bench import admin


def test_the_benchmark_of_the_operators_api_runs(capsys: pytest.CaptureFixture[str]) -> None:
    admin.main(["--entries", "150", "--accounts", "5", "--rounds", "2", "--rows", "200"])
    output = capsys.readouterr().out
    assert "none scans entries" in output
    for kind in ("summary", "series", "list", "accounts", "statement"):
        assert re.search(rf"^{kind} .* p95 ", output, re.MULTILINE), kind
    exports = re.findall(r"^export +(\w+) +(\d+) rows", output, re.MULTILINE)
    # Of the ledger that is asked, then of the larger one.
    assert [kind for kind, _ in exports] == ["csv", "ndjson"] * 2
    assert [int(rows) >= 200 for _, rows in exports] == [False, False, True, True]
