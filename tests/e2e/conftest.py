"""Fixtures of the end-to-end tests: the whole stack as real processes, on free ports.

- `stack`: one for the whole session, shared: a test may add to it and restart what it kills, and
  leaves every process running.
- `new_stack`: makes further ones for a test that needs replicas or settings of its own.

Neither touches a stack that `make up` runs, nor reads `.env` or the caller's settings.
"""

import os
from collections.abc import Callable, Iterator, Mapping

import pytest

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack

NewStack = Callable[..., LocalStack]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"stack", "new_stack"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"), without_settings(os.environ), free_ports=True
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStack]:
    started: list[LocalStack] = []

    def start(
        settings: Mapping[str, str] | None = None, *, gateways: int = 1, workers: int = 1
    ) -> LocalStack:
        stack = LocalStack(
            tmp_path_factory.mktemp("stack"),
            {**without_settings(os.environ), **(settings or {})},
            gateways=gateways,
            workers=workers,
            free_ports=True,
        )
        started.append(stack)
        stack.start()
        return stack

    try:
        yield start
    finally:
        for stack in started:
            stack.stop()
