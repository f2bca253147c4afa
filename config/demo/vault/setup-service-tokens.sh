#!/bin/sh
# Gives each service a token of its own, after setup.sh. For CONFIG_SERVER_VAULT_SERVICE_TOKEN_ROLE=config-server-service.
#
#   BAO_ADDR=... BAO_TOKEN=<an administrator's> sh setup-service-tokens.sh
#
# From then on the role config-server reads no secret of KV version 2 itself, so set up the servers in the same hour.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

accessor=$(bao read -field=accessor sys/auth/token)
sed "s/TOKEN_ACCESSOR/$accessor/" "$here/config-server-service.hcl" | bao policy write config-server-service -
bao policy write config-server-broker "$here/config-server-broker.hcl"

# Batch tokens: Vault keeps nothing of them, and they end by themselves. Whatever policies are asked for, they have this
# one. Name the services instead of *, if you know them.
bao write auth/token/roles/config-server-service \
    token_type=batch orphan=true renewable=false token_no_default_policy=true \
    allowed_policies=config-server-service allowed_entity_aliases='*'

bao write auth/approle/role/config-server token_policies=config-server-broker
