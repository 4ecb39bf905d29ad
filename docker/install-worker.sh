#!/bin/sh
# Installs what a worker needs into /opt/venv: install-worker.sh REQUIREMENTS
# With TORCH_INDEX, torch and torchvision come from there, in the pinned versions but without their
# hashes, and the CUDA libraries are left out. (Untried: that index can't be reached everywhere.)
set -eu
requirements=$1
pip=/opt/venv/bin/pip
if [ -z "${TORCH_INDEX:-}" ]; then
    exec "$pip" install --require-hashes -r "$requirements"
fi
pinned() { sed -n "s/^\($1==[^ ;]*\).*/\1/p" "$requirements" | head -n 1; }
"$pip" install --index-url "$TORCH_INDEX" "$(pinned torch)" "$(pinned torchvision)"
# A requirement is a line and the indented lines of its hashes.
awk '/^[a-z]/ { drop = /^(torch|torchvision|triton|nvidia-|cuda-)/ } !drop' \
    "$requirements" > /tmp/without-cuda.txt
exec "$pip" install --no-deps --require-hashes -r /tmp/without-cuda.txt
