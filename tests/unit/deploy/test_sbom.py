"""The list of what an image holds."""

import importlib.metadata
from pathlib import Path

from deploy.images.sbom import debian_components, make_bom

STATUS = """\
Package: libssl3
Status: install ok installed
Version: 3.0.17-1~deb12u2
Description: Secure Sockets Layer toolkit
 Status: of a description, and no field

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: g++
Status: hold ok installed
Version: 4:12.2.0-3
"""


def test_the_sbom_lists_each_installed_package_once(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(STATUS)
    bom = make_bom("litellm-gateway/gateway", "0.1.0", status)
    urls = [part["purl"] for part in bom["components"]]
    assert urls == sorted(set(urls))
    debian = [url for url in urls if url.startswith("pkg:deb/")]
    assert debian == [
        "pkg:deb/debian/g%2B%2B@4%3A12.2.0-3",
        "pkg:deb/debian/libssl3@3.0.17-1~deb12u2",
    ]
    version = importlib.metadata.version("msgspec")
    assert f"pkg:pypi/msgspec@{version}" in urls
    assert bom["metadata"]["component"] == {
        "type": "container",
        "name": "litellm-gateway/gateway",
        "version": "0.1.0",
    }


def test_a_missing_dpkg_status_lists_no_packages(tmp_path: Path) -> None:
    assert list(debian_components(tmp_path / "missing")) == []
