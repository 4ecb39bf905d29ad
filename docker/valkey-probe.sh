#!/bin/sh
# Healthy: it lets us in and answers.
REDISCLI_AUTH=$(sed -n 's|^[a-z]*://[^:@/]*:\([^@]*\)@.*|\1|p' /run/secrets/onepair_valkey_url)
export REDISCLI_AUTH
valkey-cli ping | grep -q PONG
