"""Declared state: reads a file, compares it with the gateway, and makes them equal."""
