"""Metrics about the running program."""

import platform

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, ProcessCollector

from libs.common.version import VERSION


def report_build(prefix: str, registry: CollectorRegistry) -> None:
    """Tells Prometheus, as labels of a gauge that is always 1, and what memory and CPU it uses."""
    Gauge(
        f"{prefix}_build_info",
        "1; the labels say what runs.",
        ["version", "python"],
        registry=registry,
    ).labels(VERSION, platform.python_version()).set(1)
    if registry is not REGISTRY:  # which has it already
        ProcessCollector(registry=registry)
