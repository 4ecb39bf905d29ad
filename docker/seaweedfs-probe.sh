#!/bin/sh
# Healthy: S3 answers an unsigned read, and does so by refusing it (403). While volumes are still
# being read after a crash it answers 5xx or not at all.
wget -q -S -O /dev/null http://127.0.0.1:8333/onepair/ready 2>&1 | grep -q " 403 "
