"""The version of the command line, and of the services."""

# Also in pyproject.toml.
VERSION = "0.1.0"
