# What the configuration server may do, and nothing else: read the secrets of services and the shared ones, watch their
# versions, and keep its own token alive or end it. It cannot write, list, or read anything outside these two trees.

path "secret/data/services/*"     { capabilities = ["read"] }
path "secret/metadata/services/*" { capabilities = ["read"] }
path "secret/data/shared/*"       { capabilities = ["read"] }
path "secret/metadata/shared/*"   { capabilities = ["read"] }

# KV version 1 has no versions and no metadata.
path "legacy/services/*" { capabilities = ["read"] }

# Tokens of this role are made without the default policy.
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
