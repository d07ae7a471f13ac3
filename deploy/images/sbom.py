"""An image's contents as CycloneDX: `docker run --rm -i IMAGE python - NAME VERSION < sbom.py`.

Runs inside of the image, on the standard library alone, and prints the Python distributions and
Debian packages that it finds there, not those that somebody meant to install.
"""

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")

Component = dict[str, Any]


def python_components() -> Iterator[Component]:
    for distribution in importlib.metadata.distributions():
        # An unnamed one is what an interrupted installation left behind.
        metadata = distribution.metadata.json
        if name := metadata.get("name"):
            yield component(
                "pypi",
                # As package URLs and the index write it.
                re.sub(r"[-_.]+", "-", str(name)).lower(),
                distribution.version,
                metadata.get("license_expression"),
            )


def debian_components(status: Path) -> Iterator[Component]:
    """None on another system."""
    text = status.read_text(encoding="utf-8", errors="replace") if status.exists() else ""
    for paragraph in text.split("\n\n"):
        lines = (line.partition(": ") for line in paragraph.splitlines() if line[:1] != " ")
        fields = {name: value for name, _, value in lines}
        if fields.get("Status", "").endswith(" installed"):
            yield component("deb/debian", fields["Package"], fields["Version"], None)


def component(kind: str, name: str, version: str, licence: object) -> Component:
    purl = f"pkg:{kind}/{quote(name, safe='')}@{quote(version, safe='')}"
    entry: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if licence:
        entry["licenses"] = [{"expression": licence}]
    return entry


def make_bom(name: str, version: str, status: Path = DPKG) -> dict[str, Any]:
    """Without a date or a serial number: the same image has the same list."""
    parts = [*python_components(), *debian_components(status)]
    unique = {part["bom-ref"]: part for part in parts}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [unique[ref] for ref in sorted(unique)],
    }


if __name__ == "__main__":
    _, NAME, VERSION = sys.argv
    json.dump(make_bom(NAME, VERSION), sys.stdout, indent=1)
