#!/bin/sh
# Writes what each image of `make images` holds to DIRECTORY/NAME.cdx.json: sbom.sh DIRECTORY
set -eu
directory=$1
here=$(dirname "$0")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../pyproject.toml")

mkdir -p "$directory"
for name in gateway admin ledger-worker; do
    "$here/run.sh" "litellm-gateway/$name:${TAG:-check}" \
        python - "litellm-gateway/$name" "$version" <"$here/sbom.py" >"$directory/$name.cdx.json"
    echo "$directory/$name.cdx.json"
done
