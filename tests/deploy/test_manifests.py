"""What is shipped to run the server with: the image's recipe and the manifests, as far as paper shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import READERS
from devstack.image import WRITABLE, instructions
from devstack.server import PREFIX, ROOT
from tests.proxy.certificate import write_certificate

KUBERNETES = ROOT / "config" / "kubernetes"
#: The oldest and the newest release that is promised, and known to the validator.
RELEASES = ("1.30", "1.35")
#: No part of Kubernetes itself, so no release has a schema for it.
FOREIGN = {"Kustomization", "ServiceMonitor"}


def documents() -> dict[str, dict[str, Any]]:
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(KUBERNETES.glob("*.yaml"))}


def named(kind: str, name: str | None = "config-server") -> dict[str, Any]:
    (found,) = [
        each
        for each in documents().values()
        if each["kind"] == kind and (name is None or each["metadata"]["name"] == name)
    ]
    return found


def volumes() -> dict[str, dict[str, Any]]:
    """Where it is mounted -> the volume."""
    given = {volume["name"]: volume for volume in named("Deployment")["spec"]["template"]["spec"]["volumes"]}
    return {mount["mountPath"]: given[mount["name"]] for mount in container()["volumeMounts"]}


def issuers() -> str:
    text: str = named("ConfigMap", "config-server-issuers")["data"]["issuers.toml"]
    return text


def container() -> dict[str, Any]:
    (found,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", [name for name, each in documents().items() if each["kind"] not in FOREIGN])
def test_a_manifest_is_what_kubernetes_expects(name: str, release: str) -> None:
    kubernetes_validate.validate(documents()[name], release, strict=True)


def test_the_base_holds_every_manifest_but_the_example() -> None:
    resources = set(named("Kustomization", None)["resources"])
    assert resources == set(documents()) - {"kustomization.yaml", "client-example.yaml"}


def test_every_selector_selects_the_pods() -> None:
    labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        named("Deployment")["spec"]["selector"]["matchLabels"],
        named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        named("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        named("Service")["spec"]["selector"],
    ]
    assert all(selector == labels for selector in selectors)
    assert named("ServiceMonitor")["spec"]["selector"]["matchLabels"] == named("Service")["metadata"]["labels"]


def test_ports_are_named_once_and_meant_everywhere() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    settings = named("ConfigMap")["data"]
    assert ports == {"http": 8000, "metrics": int(settings["CONFIG_SERVER_METRICS"])}
    assert {port["targetPort"] for port in named("Service")["spec"]["ports"]} == set(ports)
    assert {each["port"] for each in named("ServiceMonitor")["spec"]["endpoints"]} <= set(ports)
    probes = [container()[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [probe["path"] for probe in probes] == ["/health/ready", "/health/ready", "/health/live"]
    assert {probe["port"] for probe in probes} == {"http"}


def test_the_settings_are_settings_and_their_files_are_mounted() -> None:
    settings = named("ConfigMap")["data"]
    assert {name.removeprefix(PREFIX).lower() for name in settings} <= set(READERS)
    mounts = [mount["mountPath"] for mount in container()["volumeMounts"]]
    files = [value for name, value in settings.items() if name.endswith("_FILE")]
    assert files
    assert all(any(file.startswith(f"{mount}/") for mount in mounts) for file in files)
    assert {"/tmp", "/var/lib/config-server"} <= set(mounts) & set(WRITABLE)


def test_the_keys_of_the_cluster_are_fetched_as_the_pod_may() -> None:
    """Over TLS by the cluster's own authority, with a token of the pod, for the audience that clients are given."""
    (issuer,) = tomllib.loads(issuers())["issuer"]
    sources = volumes()["/run/secrets/cluster"]["projected"]["sources"]
    files = {source["serviceAccountToken"]["path"] for source in sources if "serviceAccountToken" in source}
    files |= {item["path"] for source in sources for item in source.get("configMap", {}).get("items", ())}
    assert {issuer["ca_file"], issuer["token_file"]} == {f"/run/secrets/cluster/{name}" for name in files}
    access = volumes()["/etc/config-server"]["projected"]["sources"]
    assert {source["configMap"]["name"] for source in access} == {"config-server-issuers", "config-server-rbac"}
    (token,) = named("Pod", "payment-service")["spec"]["volumes"][0]["projected"]["sources"]
    assert issuer["audience"] == [token["serviceAccountToken"]["audience"]]


@pytest.mark.slow
def test_a_pod_is_given_longer_than_its_goodbyes_take(tmp_path: Path) -> None:
    settings = named("ConfigMap")["data"]
    (tmp_path / "rbac.toml").write_text("")
    for name in ("key", "hook", "git", "vault", "token"):
        (tmp_path / name).write_text("k" * 40)
    write_certificate(tmp_path / "ca.crt", tmp_path / "ca.key")
    (tmp_path / "issuers.toml").write_text(issuers().replace("/run/secrets/cluster", str(tmp_path)))
    here = {
        "CONFIG_SERVER_DATA_DIR": str(tmp_path),
        "CONFIG_SERVER_ISSUERS_FILE": str(tmp_path / "issuers.toml"),
        "CONFIG_SERVER_RBAC_FILE": str(tmp_path / "rbac.toml"),
        "CONFIG_SERVER_KEY_FILE": str(tmp_path / "key"),
        "CONFIG_SERVER_WEBHOOK_SECRET_FILE": str(tmp_path / "hook"),
        "CONFIG_SERVER_GIT_PASSWORD_FILE": str(tmp_path / "git"),
        "CONFIG_SERVER_VAULT_SECRET_ID_FILE": str(tmp_path / "vault"),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config" / "gunicorn.conf.py"), "--print-config"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **settings, **here},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    drain = int(re.findall(r"^graceful_timeout\s*= (\d+)$", done.stdout, re.MULTILINE)[0])
    pause = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert named("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + pause + 10


def test_the_recipe_of_the_image_has_no_fault_that_a_linter_knows() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_and_copies_only_what_is_let_through() -> None:
    said = [*instructions((ROOT / "Dockerfile").read_text())]
    users = [rest for word, rest in said if word == "USER"]
    pod = named("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert users == [f"{pod['runAsUser']}:{pod['runAsGroup']}"]
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for word, rest in said if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]}
    assert copied == let_through


def test_what_is_installed_by_hash_is_what_is_pinned() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    found = {name.lower(): version for name, version in pinned.items()}
    assert {name: locked.get(name) for name in found} == found
