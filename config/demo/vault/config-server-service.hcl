# One service, by the name that its token bears (an entity alias of the token method, whose accessor takes the place of
# TOKEN_ACCESSOR): what is its own and what is shared, to be read and nothing else.

path "secret/data/services/{{identity.entity.aliases.TOKEN_ACCESSOR.name}}/*" { capabilities = ["read"] }
path "secret/data/shared/*" { capabilities = ["read"] }
path "legacy/services/{{identity.entity.aliases.TOKEN_ACCESSOR.name}}/*" { capabilities = ["read"] }

path "auth/token/lookup-self" { capabilities = ["read"] }
