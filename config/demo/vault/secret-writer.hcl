# Who rotates secrets: may write them, and cannot touch policies, roles or other engines.

path "secret/data/services/*"     { capabilities = ["create", "read", "update", "patch"] }
path "secret/data/shared/*"       { capabilities = ["create", "read", "update", "patch"] }
path "secret/metadata/services/*" { capabilities = ["read", "list"] }
path "secret/metadata/shared/*"   { capabilities = ["read", "list"] }
path "legacy/services/*"          { capabilities = ["create", "read", "update", "list"] }

# `bao kv` asks which version of KV a path has.
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
