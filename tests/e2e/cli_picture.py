"""Takes the picture of gatewayctl in docs/images: `make cli-picture`.

It starts a stack of its own, makes calls of a few accounts, and runs the commands as on a terminal.
"""

import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.support.command_line import run
from tests.support.polling import PATIENCE_S, block_until

WIDTH = 100
COMMANDS = (
    "gatewayctl accounts list",
    "gatewayctl usage summary --by account,model",
    "gatewayctl ledger verify --json ok,accounts,entries,entries_total_usd",
    "gatewayctl doctor --quiet",
)
# How many calls each account makes of which model.
CALLS = {
    "research": {"gpt-4.1": 7, "claude-sonnet-4-5": 4},
    "support": {"gpt-4.1-mini": 9, "claude-haiku-4-5": 6},
    "search": {"gpt-4.1-mini": 3},
}
# The fonts of rich's drawing would be fetched from the network.
_FETCHED = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        stack = LocalStack(Path(directory), without_settings(os.environ), free_ports=True)
        try:
            stack.start()
            picture = draw(stack)
        finally:
            stack.stop()
    Path(sys.argv[1]).write_text(picture)


def draw(stack: LocalStack) -> str:
    info = stack.info
    admin = StackClient(info.admin_url, info.admin_api_key)
    calls = sum(sum(models.values()) for models in CALLS.values())
    for user_id, models in CALLS.items():
        budget = {"limit_usd": 25, "period": "monthly"}
        admin.expect("POST", "/admin/accounts", {"user_id": user_id, "budget": budget})
        key = admin.expect("POST", "/admin/keys", {"user_id": user_id})
        caller = StackClient(stack.gateway_urls[0], key["api_key"])
        for model, count in models.items():
            for _ in range(count):
                message = {"role": "user", "content": "Summarise our week. " * 40}
                body = {"model": model, "messages": [message]}
                caller.expect("POST", "/v1/chat/completions", body)
    block_until(
        lambda: admin.expect("GET", "/admin/usage/summary")["total"]["calls"] == calls, PATIENCE_S
    )
    environ = {
        "GATEWAYCTL_URL": info.admin_url,
        "GATEWAYCTL_KEY": info.admin_api_key,
        "COLUMNS": str(WIDTH),
    }
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    for command in COMMANDS:
        result = run(*shlex.split(command)[1:], environ=environ, terminal=True)
        console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        console.print(Text.from_ansi(result.out))
    return _FETCHED.sub("", console.export_svg(title="gatewayctl"))


if __name__ == "__main__":
    main()
