"""Which version of the product this is, and the option of every service that tells it."""

import argparse

# Also in pyproject.toml, which is not installed.
VERSION = "0.1.0"


def service_parser(service: str) -> argparse.ArgumentParser:
    """Of `python -m` of a service, with `--version`."""
    parser = argparse.ArgumentParser(prog=f"python -m {service}")
    version = f"litellm-gateway {VERSION}"
    parser.add_argument("--version", action="version", version=version)
    return parser
