# The server where each service has a token of its own: it watches versions and asks for tokens, and cannot read a secret
# of KV version 2 by itself.

path "secret/metadata/services/*" { capabilities = ["read"] }
path "secret/metadata/shared/*"   { capabilities = ["read"] }

path "auth/token/create/config-server-service" { capabilities = ["update"] }

# KV version 1 has no versions: the data itself is watched. Leave this out where all engines are of version 2.
path "legacy/services/*" { capabilities = ["read"] }

path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
