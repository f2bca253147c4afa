# Beside config-server-service, where services have tokens of their own: a service's own key, and the one that all share.
# TOKEN_ACCESSOR as there.

path "transit/decrypt/{{identity.entity.aliases.TOKEN_ACCESSOR.name}}" { capabilities = ["update"] }
path "transit/decrypt/shared" { capabilities = ["update"] }
