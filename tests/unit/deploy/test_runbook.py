"""The runbook: an entry for each alert, which names panels, events and places that there are."""

import re

import pytest

from deploy.grafana.dashboard import ROWS
from tests.unit.deploy.test_alerts import ROOT, rules

RUNBOOK = (ROOT / "docs/runbook.md").read_text()


def entries() -> dict[str, str]:
    """Of the runbook, by the alert."""
    sections = RUNBOOK.split("\n### ")[1:]
    return {
        name: text.partition("\n## ")[0]
        for name, _, text in (section.partition("\n") for section in sections)
    }


def test_every_alert_has_an_entry_in_the_runbook_and_links_it() -> None:
    assert list(entries()) == re.findall(r"^### (.+)$", RUNBOOK, re.MULTILINE)
    assert entries().keys() == rules().keys()
    for name, rule in rules().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("name", sorted(rules()))
def test_an_entry_says_what_it_means_where_to_look_and_what_to_do(name: str) -> None:
    entry = entries()[name]
    assert re.search(r"- \*\*Means\*\* .+\n- \*\*Look at\*\* .+\n- \*\*Do\b.+", entry, re.DOTALL)
    panels = {panel.title: panel for row in ROWS for panel in row.panels}
    text = re.sub(r"`[^`]*`", "", entry)
    titles = {" ".join(title.split()) for title in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)}
    assert titles - panels.keys() == set()
    assert any(name in panels[title].alerts for title in titles)


def test_the_runbook_links_places_that_exist() -> None:
    docs = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
    places = {
        file: {
            re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
            for title in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
        }
        for file, text in docs.items()
    }
    links = re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", RUNBOOK)
    assert len(links) > 30
    for file, anchor in links:
        assert anchor in places[file or "runbook.md"], (file, anchor)


def test_the_runbook_names_events_that_are_logged() -> None:
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", RUNBOOK)) - {"alert.failed"}
    code = "".join(
        path.read_text() for top in ("libs", "services") for path in (ROOT / top).rglob("*.py")
    )
    assert len(events) > 15
    assert {event for event in events if f'"{event}"' not in code} == set()
