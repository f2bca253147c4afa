# Beside config-server-broker, where services have tokens of their own: the server's login encrypts, and decrypts nothing.

path "transit/encrypt/*" { capabilities = ["update"] }
