"""A PostgreSQL with the tables of a LiteLLM Proxy.

`make test-migration` runs these tests; without POSTGRES_BIN, the directory of its programs, there
are none.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import HOST, ServerProcess, free_port, running

collect_ignore_glob = [] if "POSTGRES_BIN" in os.environ else ["test_*.py"]

DUMP = Path(__file__).parents[1] / "support/litellm/dump.sql"
PASSWORD = "of the tests/alone"
# PostgreSQL refuses to be root.
_NOBODY = 65534


class Postgres(NamedTuple):
    port: int

    def url(self, password: str | None = None, database: str = "litellm") -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://owner{secret}@{HOST}:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> str:
        """Of PostgreSQL's own programs."""
        command = [path_of(program), f"--host={HOST}", f"--port={self.port}", "--username=owner"]
        environ = {**os.environ, "PGPASSWORD": PASSWORD}
        completed = subprocess.run(
            [*command, *arguments], env=environ, capture_output=True, text=True, check=True
        )
        return completed.stdout


def path_of(program: str) -> str:
    return str(Path(os.environ["POSTGRES_BIN"]) / program)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Whoever runs it must reach its directory, which nobody does under pytest's own.
    directory = Path(tempfile.mkdtemp(prefix="migration-"))
    try:
        with running(_server(directory)) as server:
            postgres = Postgres(server.port)
            postgres.run("createdb", "litellm")
            postgres.run("psql", "--quiet", f"--file={DUMP}", "litellm")
            yield postgres
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _server(directory: Path) -> ServerProcess:
    port = free_port()
    secret = directory / "password"
    secret.write_text(PASSWORD)
    as_nobody: list[str] = []
    if os.geteuid() == 0:
        as_nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        for path in (directory, secret):
            os.chown(path, _NOBODY, _NOBODY)
    data = directory / "data"
    initialise = [
        *as_nobody, path_of("initdb"), f"--pgdata={data}", "--username=owner", "--encoding=UTF8",
        "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
    ]  # fmt: skip
    subprocess.run(initialise, capture_output=True, check=True, cwd="/")
    command = [
        *as_nobody, path_of("postgres"), "-D", str(data), "-p", str(port), "-h", HOST,
        "-k", str(directory), "-F",
    ]  # fmt: skip
    return ServerProcess(f"postgresql://{HOST}:{port}", command, port, directory)
