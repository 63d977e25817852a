#!/bin/sh
# `server /data` and `minio server /data` mean the same, as in the upstream image.
if [ "$1" != minio ]; then
    set -- minio "$@"
fi
exec "$@"
