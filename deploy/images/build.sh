#!/bin/sh
# Builds the image of each service, by Docker or, where no engine answers, by Buildah.
#
#   BASE           another base image, such as the one of debian_base.sh
#   TAG            of the images: `check` by default
#   BUILD_OPTIONS  further options of the builder: --isolation chroot, --volume ...
set -eu
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || true)
if docker info >/dev/null 2>&1; then
    builder="docker build"
else
    # Images of its own format have no HEALTHCHECK.
    builder="buildah build --format docker --layers"
fi
for target in gateway admin ledger_worker stand-in; do
    name=litellm-gateway/$(echo "$target" | tr _ -):${TAG:-check}
    # Options are words, hence no quotes.
    # shellcheck disable=SC2086
    $builder --quiet ${BUILD_OPTIONS:-} ${BASE:+--build-arg BASE="$BASE"} \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" \
        --target "$target" --tag "$name" . >/dev/null
    echo "$name"
done
