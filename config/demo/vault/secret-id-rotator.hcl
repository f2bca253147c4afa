# Who rotates the server's secret_id (`python -m app approle rotate`): makes, looks up and destroys those of this one
# role. It can read no secret by itself, change no role and no policy. With a secret_id it could log in as the server,
# so it is to be kept as the server's own credentials are.

path "auth/approle/role/config-server/custom-secret-id"           { capabilities = ["update"] }
path "auth/approle/role/config-server/secret-id/lookup"           { capabilities = ["update"] }
path "auth/approle/role/config-server/secret-id-accessor/destroy" { capabilities = ["update"] }
