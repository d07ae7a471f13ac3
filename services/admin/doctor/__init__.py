"""Checks everything that the gateway depends on, and says what is wrong and how to fix it."""
