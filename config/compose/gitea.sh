#!/bin/bash
# Runs in the container gitea-setup: a user, a repository with the demo's files, and a webhook to Config Server.
set -euo pipefail
password=$(cat /run/secrets/gitea-password)
url=http://gitea:3000
api=$url/api/v1/repos/ops/configuration

if ! curl -fsS -u "ops:$password" "$url/api/v1/user" > /dev/null 2>&1; then
    gitea --config /data/gitea/conf/app.ini admin user create --admin --username ops --password "$password" \
        --email ops@example.org --must-change-password=false
fi
if curl -fsS -u "ops:$password" "$api" > /dev/null 2>&1; then
    exit 0
fi
curl -fsS -u "ops:$password" -H "Content-Type: application/json" \
    -d '{"name": "configuration", "private": true, "default_branch": "main"}' "$url/api/v1/user/repos" > /dev/null

work=$(mktemp -d)
cp -R /demo/. "$work"
git -C "$work" init --quiet --initial-branch=main
git -C "$work" add --all
git -C "$work" -c user.name=Ops -c user.email=ops@example.org commit --quiet -m "The demo's configuration"
git -C "$work" push --quiet "http://ops:$password@gitea:3000/ops/configuration.git" main

curl -fsS -u "ops:$password" -H "Content-Type: application/json" -d @- "$api/hooks" > /dev/null << END
{"type": "gitea", "active": true, "events": ["push"],
 "config": {"url": "$HOOK_URL", "content_type": "json", "secret": "$(cat /run/secrets/webhook-secret)"}}
END
