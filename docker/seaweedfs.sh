#!/bin/sh
# Writes the S3 identities from the secrets and becomes the server. Keys are hexadecimal, so they
# need no quoting in JSON. Whoever has no key can read the health check's object, and nothing else.
set -eu
umask 077
access=$(cat /run/secrets/onepair_s3_access_key)
secret=$(cat /run/secrets/onepair_s3_secret_key)
cat > /run/seaweedfs/s3.json <<JSON
{"identities": [{"name": "onepair",
  "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "anonymous", "actions": ["Read:probe"]}]}
JSON
exec weed server -dir=/data -s3 -filer -filer.disableHttp \
    -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.ip.bind=0.0.0.0 -s3.port=8333 -s3.config=/run/seaweedfs/s3.json \
    -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false -volume.max=20
