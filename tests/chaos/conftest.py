"""The end-to-end tests' stacks."""

from tests.e2e.conftest import new_stack

__all__ = ["new_stack"]
