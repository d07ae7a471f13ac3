"""`.env.example` lists each variable that a service reads, and no other."""

from msgspec.structs import fields

from deploy.local.compose import PASSWORDS
from deploy.local.environment import documented_names
from deploy.local.image_pins import default_images
from services.admin.settings import Settings as AdminSettings
from services.gateway.directory.provider_rows import ROWS
from services.gateway.settings import Settings as GatewaySettings
from services.ledger_worker.settings import Settings as WorkerSettings

OF_THE_TOOLS = {"DEMO_MODEL", *PASSWORDS, *default_images()}


def test_the_example_lists_every_setting() -> None:
    services = (GatewaySettings, AdminSettings, WorkerSettings)
    names = {field.name.upper() for settings in services for field in fields(settings)}
    names |= {name for row in ROWS for name in (row.base_variable, row.key_variables[0])}
    assert documented_names() == names | OF_THE_TOOLS
