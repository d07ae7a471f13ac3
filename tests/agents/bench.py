"""One test's place of work: routes to the scripted provider, and clients with a home of its own."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.agents.provider import Provider, Request, Script

# A model that no price map has, as somebody's own server runs it.
SERVER = "hosted_vllm/qwen"
_PATIENCE_S = 180
_NUMBERS = count(1)
# Nothing listens there: what a client sends to the rest of the world goes nowhere.
_NOWHERE = "http://127.0.0.1:9"
_QUIET = {
    "HTTP_PROXY": _NOWHERE,
    "HTTPS_PROXY": _NOWHERE,
    "NO_PROXY": "127.0.0.1",
    "DO_NOT_TRACK": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "AI_SDK_LOG_WARNINGS": "false",
}
_ALLOWED = "Bash Read Write Edit"


@dataclass(frozen=True, repr=False)
class Output:
    """`lines` are the JSON objects that the client wrote."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str

    def __repr__(self) -> str:
        return f"exit {self.code}: {json.dumps(self.lines[-3:])}: {self.stderr}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    stack: LocalStack
    provider: Provider
    modules: Path
    key: str
    directory: Path
    scripts: list[str] = field(default_factory=list)

    def route(self, script: Script, model: str, *formats: str, **fields: Any) -> str:
        """The name of a route to one deployment, which the script plays."""
        return self.route_of(self.deployment(script, model, *formats, **fields))

    def deployment(
        self, script: Script, model: str, *formats: str, relayed: bool = False, **fields: Any
    ) -> dict[str, Any]:
        name = f"script-{next(_NUMBERS)}"
        self.provider.plays(name, script, relayed=relayed)
        self.scripts.append(name)
        is_claude = model.startswith("anthropic/")
        base = f"{self.provider.url}/{name}" + ("" if is_claude else "/v1")
        format_fields = {"formats": list(formats)} if formats else {}
        return {"model": model, "api_base": base, **format_fields, **fields}

    def route_of(self, *deployments: dict[str, Any], **fields: Any) -> str:
        name = f"house-{next(_NUMBERS)}"
        admin = StackClient(self.stack.info.admin_url, self.stack.info.admin_api_key)
        body = {"model": name, "deployments": list(deployments), **fields}
        admin.expect("POST", "/admin/models", body)
        return name

    def requests(self, script: int = 0) -> list[Request]:
        """Those of that script's deployment; scripts are numbered in the order of their making."""
        return self.provider.requests(self.scripts[script])

    @property
    def url(self) -> str:
        return self.stack.gateway_urls[0]

    @property
    def work(self) -> Path:
        """The directory in which an agent works."""
        work = self.directory / "work"
        work.mkdir(exist_ok=True)
        return work

    def claude_code(self, model: str, prompt: str, *options: str) -> Output:
        command = [
            str(self.modules / ".bin" / "claude"),
            *("-p", prompt, "--model", model, "--allowedTools", _ALLOWED),
            *("--output-format", "stream-json", "--verbose", *options),
        ]
        gateway = {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_AUTH_TOKEN": self.key}
        # It knows no other model: not for titles, nor after a refusal.
        names = ("HAIKU", "SONNET", "OPUS", "FABLE")
        models = {f"ANTHROPIC_DEFAULT_{name}_MODEL": model for name in names}
        return self._run(command, {**gateway, **models})

    def codex(self, model: str, prompt: str, *options: str) -> Output:
        home = self.directory / "codex"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(
            f'model = "{model}"\nmodel_provider = "gateway"\n'
            f'[model_providers.gateway]\nname = "gateway"\nbase_url = "{self.url}/v1"\n'
            'env_key = "GATEWAY_KEY"\nwire_api = "responses"\n'
            "[analytics]\nenabled = false\n"
        )
        command = [
            *("node", str(self.modules / ".bin" / "codex"), "exec"),
            # As its users have it: it then offers a search of stored pages alone.
            *("--json", "--skip-git-repo-check", "--sandbox", "workspace-write"),
            *("-C", str(self.work), *options, prompt),
        ]
        return self._run(command, {"CODEX_HOME": str(home), "GATEWAY_KEY": self.key})

    def ai_sdk(self, call: dict[str, Any]) -> Output:
        script = Path(__file__).with_name("ai_sdk.mjs")
        # A module looks for what it imports beside itself.
        copy = self.modules.parent / script.name
        copy.write_text(script.read_text())
        request = {"url": self.url, "key": self.key, **call}
        return self._run(["node", str(copy)], {}, json.dumps(request))

    def _run(self, command: list[str], environ: dict[str, str], stdin: str = "") -> Output:
        machine = {
            name: value
            for name, value in without_settings(os.environ).items()
            if not name.lower().endswith("_proxy")
        }
        completed = subprocess.run(
            command,
            cwd=self.work,
            env={**machine, **_QUIET, "HOME": str(self.directory), **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        lines = [json.loads(line) for line in completed.stdout.splitlines() if line.startswith("{")]
        return Output(completed.returncode, lines, completed.stderr)
