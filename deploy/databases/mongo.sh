#!/bin/sh
# Starts MongoDB with users; mongo.js, which the health check runs, makes them.
set -eu
umask 077
# The members of a set share a key. This set has one member, so that each start may make its own.
head -c 96 /dev/urandom | base64 -w 0 >/tmp/mongo.key
exec mongod --replSet rs0 --bind_ip_all --keyFile /tmp/mongo.key
