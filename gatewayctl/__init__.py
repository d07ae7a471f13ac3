"""The command line of the admin API.

It is a client: it imports no service and no library of theirs, so that it installs on its own.
What takes long to import (httpx, rich's tables, yaml, msgspec) is imported by the functions that
use it, because `--help` and completion need none of it.
"""
