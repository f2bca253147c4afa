#!/bin/sh
# Sets up a Vault or OpenBao for the configuration server, as an operator does once.
#
#   BAO_ADDR=... BAO_TOKEN=<an administrator's> sh setup.sh DIRECTORY
#
# Leaves in DIRECTORY, readable by its owner only: role-id and secret-id (what the server logs in with) and
# secret-writer (a token for whoever rotates secrets). Needs `bao`; with Vault, put an alias `bao` for `vault` in PATH.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"

# The engines. A dev server has a KV version 2 at secret/ already.
bao secrets list | grep -q '^secret/' || bao secrets enable -path=secret -version=2 kv
bao secrets list | grep -q '^legacy/' || bao secrets enable -path=legacy -version=1 kv

bao policy write config-server "$here/config-server.hcl"
bao policy write secret-writer "$here/secret-writer.hcl"

# The server's way in. Its tokens are renewed, and replaced by a new login after four hours; whatever else happens to
# the secret_id, it is worth nothing after thirty days. secret_id_num_uses stays 0, as each worker logs in by itself.
bao auth list | grep -q '^approle/' || bao auth enable approle
bao write auth/approle/role/config-server \
    token_policies=config-server token_no_default_policy=true \
    token_ttl=20m token_max_ttl=4h secret_id_ttl=720h

bao read -field=role_id auth/approle/role/config-server/role-id > "$out/role-id"
bao write -force -field=secret_id auth/approle/role/config-server/secret-id > "$out/secret-id"
bao token create -field=token -policy=secret-writer -no-default-policy -ttl=24h > "$out/secret-writer"
