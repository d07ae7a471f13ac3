"""Which version of the command line this is; the services have the same."""

# Also in pyproject.toml.
VERSION = "0.1.0"
