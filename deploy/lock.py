"""Resolve pyproject.toml into the hashed locks of requirements/, for every supported Python.

Run by `make lock`. The development lock comes first and constrains the services' locks, so that an
image holds the very versions that the tests ran on.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
# By lock, the extras that it has; the admin image has the command line as well.
LOCKS = {
    "gateway": ("gateway",),
    "admin": ("admin", "cli"),
    "worker": ("worker",),
    "cli": ("cli",),
}
HEADER = "# Made by `make lock` from pyproject.toml. Do not edit.\n"


def compile_lock(uv: str, name: str, *arguments: str) -> None:
    target = REQUIREMENTS / f"{name}.txt"
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--upgrade"]
    subprocess.run([*command, *arguments, "--output-file", str(target)], cwd=ROOT, check=True)  # noqa: S603
    target.write_text(HEADER + target.read_text())


def main() -> None:
    (uv,) = sys.argv[1:]
    extras = [f"--extra={name}" for name in (*LOCKS, "migrate", "parquet", "dev")]
    compile_lock(uv, "dev", "pyproject.toml", *extras)
    for name, own in LOCKS.items():
        options = [f"--extra={extra}" for extra in own]
        compile_lock(uv, name, "pyproject.toml", *options, "--constraint=requirements/dev.txt")
    for group in ("ci", "peers"):
        compile_lock(uv, group, f"--group={group}")


if __name__ == "__main__":
    main()
