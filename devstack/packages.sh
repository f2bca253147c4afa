#!/bin/sh
# Sees to what pip cannot bring: sh devstack/packages.sh [tests|bench]. Without a word: git, and a Python that can make virtual
# environments. With `tests`: the browser, the proxy, Prometheus, the sshd and Node, which only the tests drive. With
# `bench`: the load generator, and what the server is measured beside. Installs the Debian packages that are missing when
# it is root and apt-get is there; else says what to install. Silent when nothing is missing.
set -eu

missing=
case ${1:-} in
tests)
    command -v chromium > /dev/null || missing="$missing chromium"
    command -v nginx > /dev/null || missing="$missing nginx"
    command -v promtool > /dev/null || missing="$missing prometheus"
    command -v node > /dev/null || missing="$missing nodejs"
    command -v npm > /dev/null || missing="$missing npm"
    command -v sshd > /dev/null || missing="$missing openssh-server"
    command -v ssh-keygen > /dev/null || missing="$missing openssh-client"
    these="a Chromium, an nginx, a Prometheus, an sshd, a node, an npm and ssh-keygen, for the tests"
    ;;
bench)
    command -v wrk > /dev/null || missing="$missing wrk"
    command -v etcd > /dev/null || missing="$missing etcd-server"
    command -v nginx > /dev/null || missing="$missing nginx"
    these="wrk, an etcd and an nginx, for the measurements"
    ;;
*)
    command -v git > /dev/null || missing="$missing git"
    "${PYTHON:-python3}" -c 'import ensurepip, venv' 2> /dev/null || missing="$missing python3-venv"
    these="Git, and Python's venv and ensurepip modules"
    ;;
esac
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "Installing$missing ..."
    log=$(mktemp)
    # shellcheck disable=SC2086 - a list of words
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } \
        > "$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    for package in nginx prometheus openssh-server etcd-server; do
        service=${package#open}
        service=${service%-server}
        case $missing in *$package*)
            # Debian makes a service of it; we want the program alone.
            { update-rc.d $service disable && invoke-rc.d $service stop; } > "$log" 2>&1 || true
            ;;
        esac
    done
    rm -f "$log"
    exit 0
fi

echo "Missing on this machine:$missing. Install with:  sudo apt-get install$missing" >&2
echo "(or the like; on other systems these are $these)" >&2
exit 1
