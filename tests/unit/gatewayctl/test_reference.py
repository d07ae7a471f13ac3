"""docs/cli.md tells of the commands as they are."""

from pathlib import Path

from gatewayctl.reference import with_reference

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def test_the_page_is_made_from_the_commands() -> None:
    text = PAGE.read_text()
    assert with_reference(text) == text, "run `make cli-docs`"
    for verb in ("accounts create", "usage tail", "ledger dead-letters replay", "doctor"):
        assert f"\n### {verb}\n" in text
