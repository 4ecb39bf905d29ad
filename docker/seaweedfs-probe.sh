#!/bin/sh
# Healthy: the object that everybody may read can be read. Before the first start has made it, it is
# missing (404). While volumes are still being read after a crash the answer is 5xx, or none.
wget -q -S -O /dev/null http://127.0.0.1:8333/probe/ready 2>&1 | grep -qE " (200|404) "
