"""Runs the tests at another date. Only the wall clock is moved."""
