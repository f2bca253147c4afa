#!/bin/sh
# Makes what compose.yaml mounts as secrets: sh setup.sh [DIRECTORY]. What is there already stays. Needs openssl.
set -eu
directory=${1:-$(dirname "$0")/secrets}
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"

for name in key webhook-secret gitea-password; do
    [ -e "$name" ] || openssl rand -hex 32 > "$name"
done
if [ ! -e certificate.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=config.example.org \
        -addext "subjectAltName=DNS:config.example.org,DNS:localhost,IP:127.0.0.1" \
        -keyout certificate.key -out certificate.pem 2> /dev/null
fi
# Containers read them under users of their own; the directory keeps this machine's other users out.
chmod 644 key webhook-secret gitea-password certificate.pem certificate.key
