#!/bin/sh
# Takes its password from the URL that gateway and workers have as their secret, and becomes the
# server. The password is hexadecimal, so it needs no quoting.
set -eu
umask 077
password=$(sed -n 's|^[a-z]*://[^:@/]*:\([^@]*\)@.*|\1|p' /run/secrets/onepair_valkey_url)
if [ -z "$password" ]; then
    echo "onepair_valkey_url is not redis://:PASSWORD@valkey:6379/0" >&2
    exit 1
fi
printf 'requirepass %s\n' "$password" > /run/valkey/valkey.conf
exec valkey-server /run/valkey/valkey.conf --dir /data --appendonly yes --appendfsync always \
    --save "" --maxmemory "$VALKEY_MAXMEMORY" --maxmemory-policy noeviction
