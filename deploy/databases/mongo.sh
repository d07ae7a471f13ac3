#!/bin/sh
# Starts MongoDB with users; mongo.js, which the health check runs, makes them.
set -eu
umask 077
# The members of a set share a key. This set has one member, so that each start may make its own.
head -c 96 /dev/urandom | base64 -w 0 >"${TMPDIR:-/tmp}/mongo.key"
# mongosh, which the health check runs, would keep a log of each run and report its use.
mkdir -p "$HOME/.mongodb/mongosh"
printf '{"enableTelemetry":false,"disableLogging":true}' >"$HOME/.mongodb/mongosh/config"
exec mongod --replSet rs0 --bind_ip_all --keyFile "${TMPDIR:-/tmp}/mongo.key"
