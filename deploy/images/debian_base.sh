#!/bin/sh
# Makes a base image of Debian's own packages, for machines that reach them and no registry.
# Needs root, debootstrap and Buildah:  debian_base.sh [SUITE]  prints the image's name.
set -eu

suite=${1:-bookworm}
name=localhost/debian-python:$suite
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,python-is-python3,ca-certificates \
    "$suite" "$root" >&2
for kept in var/cache/apt var/lib/apt/lists usr/share/doc usr/share/man usr/share/locale; do
    find "$root/$kept" -mindepth 1 -delete
done
container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >&2
buildah commit --quiet --rm "$container" "$name" >&2
echo "$name"
