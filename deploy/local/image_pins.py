"""Print the images of the compose file as lines for `.env`, each with its present digest.

Run by `make pin-images`. It asks the registries by `docker buildx imagetools`, which needs no
running engine, and pins the list of an image's platforms, not one of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from deploy.local.environment import ROOT, read_environment

_INSPECT = ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TIMEOUT_S = 60
_NEEDS_BUILDX = (
    "needs docker with its buildx plugin; docs/operations.md says how to ask without Docker"
)


def default_images() -> dict[str, str]:
    """By the variable that overrides the image."""
    compose = (ROOT / "docker-compose.yml").read_text()
    return dict(re.findall(r"\$\{([A-Z]+_IMAGE):-([^}]+)\}", compose))


class NotPinned(Exception):
    """The message has the image and the reason."""


def pinned_image(image: str) -> str:
    """`name:tag@sha256:…`: Docker uses the digest, and the tag informs the reader."""
    name = image.partition("@")[0]
    try:
        completed = subprocess.run(
            (*_INSPECT, name), capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except FileNotFoundError:
        raise NotPinned(f"{name}: {_NEEDS_BUILDX}") from None
    except subprocess.TimeoutExpired:
        raise NotPinned(f"{name}: its registry did not answer within {_TIMEOUT_S} s") from None
    digest = completed.stdout.strip()
    if completed.returncode != 0 or not _DIGEST.fullmatch(digest):
        if not _has_buildx():
            raise NotPinned(f"{name}: {_NEEDS_BUILDX}")
        raise NotPinned(f"{name}: {completed.stderr.strip() or digest or 'no digest'}")
    return f"{name}@{digest}"


def _has_buildx() -> bool:
    """Checked first, because without the plugin Docker only reports an unknown option."""
    completed = subprocess.run(
        ("docker", "buildx", "version"), capture_output=True, check=False, timeout=_TIMEOUT_S
    )
    return completed.returncode == 0


def main(env_file: Path = ROOT / ".env") -> int:
    """Images that the environment or `.env` names are pinned anew, by their tags."""
    images = default_images()
    values = read_environment(os.environ, env_file)
    try:
        lines = [f"{name}={pinned_image(values.get(name, images[name]))}" for name in images]
    except NotPinned as error:
        print(f"make pin-images: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
