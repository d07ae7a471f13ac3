"""Declared state: what a file says, what the gateway has, and what makes them the same."""
