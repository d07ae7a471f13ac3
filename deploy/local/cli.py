"""`python -m deploy.local up|down|status|logs|demo`, which is what the Makefile calls."""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from dotenv import dotenv_values

from deploy.local import compose, demo, logs
from deploy.local.environment import ROOT, read_environment
from deploy.local.errors import StackError
from deploy.local.process import Supervisor
from deploy.local.readiness import AnswersHttp, check
from deploy.local.stack import LocalStack
from deploy.local.state import StackInfo, load_state

DIRECTORY = ROOT / ".local"
OPENAI_MODEL, ANTHROPIC_MODEL = "gpt-4.1-mini", "claude-haiku-4-5"


def main() -> int:
    arguments = _parser().parse_args()
    directory: Path = arguments.directory
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    try:
        match arguments.command:
            case "up":
                _up(directory, arguments.stack)
            case "down":
                _down(directory, with_data=arguments.with_data)
            case "status":
                _status(directory)
            case "logs":
                _logs(directory, arguments.service)
            case "demo":
                demo.run_demo(_read_info(directory), demo_model(_environment()))
    except StackError as error:
        if error.detail:
            print(f"{error.detail}\n", file=sys.stderr)
        print(f"make {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"make {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="data, logs and state")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what does not run yet")
    up.add_argument("--stack", choices=("docker", "local"), default="local")
    down = commands.add_parser("down", help="stop all; the data stays")
    down.add_argument("--with-data", action="store_true", help="remove Docker's volumes too")
    commands.add_parser("status", help="show what runs")
    show = commands.add_parser("logs", help="show the last lines; in a terminal, follow")
    show.add_argument("service", nargs="?")
    commands.add_parser("demo", help="a tour of the running stack")
    return parser


def _up(directory: Path, stack: str) -> None:
    environment = _environment()
    with _one_at_a_time(directory):
        kind = load_state(directory).kind
        if kind == "docker" and stack == "local" and compose.runs():
            raise StackError("the stack runs under Docker; stop it first: make down")
        if kind == "local" and stack == "docker" and Supervisor(directory).names():
            raise StackError("the stack runs as local processes; stop it first: make down")
        if stack == "docker":
            info = compose.up(directory, os.environ)
        else:
            print("Starting the stack (data and logs in .local/)", flush=True)
            info = LocalStack(directory, environment, detached=True).start()
    _print_info(info, demo_model(environment))


def _down(directory: Path, *, with_data: bool) -> None:
    """The local stack's data is a directory, which `make clean` removes."""
    with _one_at_a_time(directory):
        if load_state(directory).kind == "docker":
            compose.down(with_data=with_data)
            return
        supervisor = Supervisor(directory)
        running = [name for name in supervisor.names() if supervisor.find(name)]
        killed = LocalStack(directory, os.environ).stop()
    for name in killed:
        print(f"{name} did not stop in time and was killed")
    print(f"Stopped: {', '.join(running)}" if running else "Nothing was running")
    if not with_data:
        print("The data stays in .local/; `make up` continues with it")


def _status(directory: Path) -> None:
    if load_state(directory).kind == "docker":
        compose.status()
        return
    supervisor = Supervisor(directory)
    names = supervisor.names()
    if not names:
        print("Not running; `make up` starts it")
        return
    for name in names:
        record = supervisor.find(name)
        if record is None:
            print(f"{name:<14} dead       see .local/log/{name}.log; `make up` restarts it")
            continue
        memory = psutil.Process(record.pid).memory_info().rss // (1024 * 1024)
        where = f"127.0.0.1:{record.port}" if record.port else ""
        print(
            f"{name:<14} {_health(name, record.port):<10} pid {record.pid:<8} "
            f"{memory:>4} MB  {where}"
        )


def _health(name: str, port: int) -> str:
    if name.partition("-")[0] not in ("gateway", "admin"):
        return "running"
    reason = check(AnswersHttp(url=f"http://127.0.0.1:{port}/ready"))
    return "ready" if reason is None else "not ready"


def _logs(directory: Path, service: str | None) -> None:
    follow = sys.stdout.isatty()
    if load_state(directory).kind == "docker":
        compose.logs(service, follow=follow)
        return
    paths = sorted((directory / "log").glob(f"{service or '*'}.log"))
    if not paths:
        raise StackError(f"no log of {service}" if service else "no logs yet; run make up first")
    with contextlib.suppress(KeyboardInterrupt):
        logs.show_logs(paths, follow=follow)


def demo_model(environment: Mapping[str, str]) -> str:
    """A cheap model of a configured provider; DEMO_MODEL overrides it."""
    model = environment.get("DEMO_MODEL")
    if model:
        return model
    anthropic_alone = "ANTHROPIC_API_KEY" in environment and "OPENAI_API_KEY" not in environment
    return ANTHROPIC_MODEL if anthropic_alone else OPENAI_MODEL


def _print_info(info: StackInfo, model: str) -> None:
    if info.provider_url:
        print(f"""
  STAND-IN PROVIDER: no provider key is set, so a scripted local server answers in
  place of OpenAI and Anthropic ({info.provider_url}). Set OPENAI_API_KEY or
  ANTHROPIC_API_KEY, in .env or the environment, and run `make up` again.""")
    print(f"""
  Gateway    {info.gateway_url}
  Admin      {info.admin_url}
  Console    {info.admin_url}/console
  Admin key  {info.admin_api_key}
  Demo key   {info.demo_api_key}
  All of it  .local/stack.env

Try it:

curl {info.gateway_url}/v1/chat/completions \\
  -H 'Authorization: Bearer {info.demo_api_key}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

Then `make demo` for a tour, `make down` to stop.""")


def _read_info(directory: Path) -> StackInfo:
    path = directory / "stack.env"
    is_local = load_state(directory).kind == "local"
    if not path.exists() or (is_local and not Supervisor(directory).names()):
        raise StackError("the stack is not running; run make up first")
    values = {name.lower(): value or "" for name, value in dotenv_values(path).items()}
    return StackInfo(**values)


def _environment() -> dict[str, str]:
    return read_environment(os.environ, ROOT / ".env")


@contextlib.contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Two commands at once would both start servers on the same data."""
    directory.mkdir(parents=True, exist_ok=True)
    with Path(directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("another `make up` or `make down` is under way") from None
        yield
