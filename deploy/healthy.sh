#!/bin/bash
# Whether the node at this port of this machine answers at all: exit 0 or 1. The image's health check; bash's own TCP spares it a client.
# It asks /healthz: a node whose read models are behind must not be restarted for that; load balancers ask /readyz (second argument).
set -u
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "${2:-/healthz}" >&3
read -r _ status _ <&3 || exit 1
[ "$status" = 200 ]
