"""Drives the PyPI package config-client; prints what an application gets of it as JSON. Run in a process of its own."""

import json
import sys

from config.spring import ConfigClient

asked = json.loads(sys.argv[1])
headers = {"Authorization": f"Bearer {asked['token']}"}
client = ConfigClient(address=asked["address"], app_name=asked["name"], profile=asked["profile"], label=asked["label"])
client.get_config(headers=headers)
encrypted = client.encrypt("a secret", headers={**headers, "Content-Type": "text/plain"})
told = {
    "config": client.config,
    "file": client.get_file("nginx.conf", headers=headers),
    "decrypted": client.decrypt(encrypted, headers={**headers, "Content-Type": "text/plain"}),
}
sys.stdout.write(json.dumps(told))
