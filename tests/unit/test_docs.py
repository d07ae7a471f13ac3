"""The documentation names what there is: modules, settings, errors, metrics, and no others."""

import re
from inspect import isclass
from pathlib import Path

import pytest
from msgspec.structs import fields
from prometheus_client import generate_latest

from libs.common import errors
from libs.common.web import unread_responses  # noqa: F401 - its metrics are those of the process
from services.admin import routes as admin_routes
from services.admin.metrics import Metrics as AdminMetrics
from services.admin.settings import Settings as AdminSettings
from services.gateway import metrics  # noqa: F401 - the same
from services.gateway.settings import Settings as GatewaySettings
from services.ledger_worker.metrics import Metrics as WorkerMetrics
from services.ledger_worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
MODULES = ARCHITECTURE.partition("\n## Modules\n")[2].partition("\n## ")[0]
ROOMS = re.findall(r"^\| `((?:gatewayctl|libs|services)/[^`]*)`", MODULES, re.MULTILINE)
# What every service has stands in a sentence below the table.
OF_EACH_SERVICE = set(re.findall(r"`(\w+)`", MODULES.rpartition("\nIn each service:")[2]))


GLOSSARY = (ROOT / "docs/glossary.md").read_text()
GUIDES = (
    "CONTRIBUTING.md",
    "docs/adr/0013-hand-written-infrastructure.md",
    "services/gateway/admission/README.md",
    "services/ledger_worker/README.md",
)


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+/?)`", text))


def rows_of(room: str) -> str:
    """The table's second cells."""
    rows = [line for line in MODULES.splitlines() if line.startswith(f"| `{room}`")]
    return "\n".join(row.split("|")[2] for row in rows)


def test_the_table_of_modules_is_complete() -> None:
    for room in sorted(set(ROOMS)):
        modules = {path.stem for path in (ROOT / room).glob("[!_]*.py")}
        packages = {f"{path.name}/" for path in (ROOT / room).iterdir() if path.is_dir()}
        listed = named(rows_of(room))
        assert modules - listed - OF_EACH_SERVICE == set(), room
        assert listed - modules - packages == set(), room


def test_every_package_is_in_the_table() -> None:
    packages = {
        path.parent.relative_to(ROOT).as_posix() + "/"
        for top in ("gatewayctl", "libs", "services")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__init__.py" and not {"translation", "adapters"} & set(path.parts)
    }
    assert packages == set(ROOMS)


def test_every_setting_is_in_the_readme() -> None:
    table = README.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    services = (GatewaySettings, AdminSettings, WorkerSettings)
    assert {field.name.upper() for kind in services for field in fields(kind)} - named(
        table
    ) == set()


def test_every_endpoint_of_the_admin_api_is_in_the_readme() -> None:
    table = README.partition("\n| path | methods |\n")[2].partition("\n\n")[0]
    listed = set(re.findall(r"`(/admin/[^`]*)`", table))
    paths = {each.path.replace(":path", "") for each in admin_routes.ENDPOINTS}
    assert {path for path in paths if path.startswith("/admin/")} == listed


def test_every_code_of_an_error_is_in_the_table() -> None:
    section = ARCHITECTURE.partition("\n## Errors\n")[2].partition("\n## ")[0]
    tree = [kind for kind in vars(errors).values() if isclass(kind)]
    codes = {kind.code for kind in tree if issubclass(kind, errors.AppError)}
    # Only the kinds of it are raised.
    codes.remove(errors.Forbidden.code)
    assert codes - named(section) == set()


def test_operations_names_metrics_that_exist() -> None:
    exported = (
        generate_latest()
        + generate_latest(WorkerMetrics().registry)
        + bytes(AdminMetrics().response().body)
    )
    existing = set(re.findall(r"^# TYPE (\S+)", exported.decode(), re.MULTILINE))
    mentioned = set(re.findall(r"(?<![./\w])(?:gateway|admin|ledger|http)_\w+", OPERATIONS))
    assert mentioned - existing - {"ledger_worker", "http_status"} == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_name_files_that_exist(guide: str) -> None:
    text = (ROOT / guide).read_text()
    paths = set(re.findall(r"`((?:bench|deploy|libs|services|tests)/[\w./]+)`", text)) - {
        "libs/common/storage/redis/lua/NAME.lua"
    }
    assert paths, guide
    assert {p for p in paths if not list(ROOT.glob(p)) and not (ROOT / f"{p}.py").exists()} == set()


def test_the_glossary_names_types_that_exist() -> None:
    code = "\n".join(
        p.read_text() for top in ("libs", "services") for p in (ROOT / top).rglob("*.py")
    )
    types = set(re.findall(r"^\| [^|]*\(`(\w+)`\) \|", GLOSSARY, re.MULTILINE))
    assert types - set(re.findall(r"^class (\w+)", code, re.MULTILINE)) == set()
    assert len(types) > 20


def test_where_is_answers_with_paths_that_exist() -> None:
    section = ARCHITECTURE.partition("\n## Where is …?\n")[2]
    rows = re.findall(r"^\| (Where .*?) \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) >= 10
    for question, answer in rows:
        paths = re.findall(r"`([^`]+)`", answer)
        assert paths, question
        assert [path for path in paths if not (ROOT / path).exists()] == []
