# Beside config-server, where files hold values that the transit engine has encrypted: decrypt them, and encrypt for
# POST /v1/admin/encrypt. Without `create`, encrypting with a key that there is not makes none.

path "transit/decrypt/*" { capabilities = ["update"] }
path "transit/encrypt/*" { capabilities = ["update"] }
