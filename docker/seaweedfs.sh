#!/bin/sh
# Writes the S3 identities from the secrets and becomes the server. Keys are hexadecimal, so they
# need no quoting in JSON.
set -eu
umask 077
access=$(cat /run/secrets/onepair_s3_access_key)
secret=$(cat /run/secrets/onepair_s3_secret_key)
cat > /run/seaweedfs/s3.json <<JSON
{"identities": [{"name": "onepair",
  "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
exec weed server -dir=/data -s3 -filer -filer.disableHttp \
    -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.ip.bind=0.0.0.0 -s3.port=8333 -s3.config=/run/seaweedfs/s3.json \
    -master.telemetry=false -volume.max=20
