#!/bin/sh
# Runs a command in an image, with this machine's network: run.sh IMAGE COMMAND...
# By Docker or, where no engine answers, by Buildah. RUN_OPTIONS are options of either: --env NAME=VALUE.
set -eu
image=$1
shift

# Options are words, hence no quotes.
# shellcheck disable=SC2086
if docker info >/dev/null 2>&1; then
    exec docker run --rm --interactive --network host ${RUN_OPTIONS:-} "$image" "$@"
fi
container=$(buildah from --pull-never "localhost/$image")
trap 'buildah rm "$container" >/dev/null' EXIT
# dash leaves without that trap else.
trap 'exit 143' TERM
# shellcheck disable=SC2086
buildah run --isolation chroot ${RUN_OPTIONS:-} "$container" -- "$@"
