#!/usr/bin/env bash
# Chromium and the program that drives it, by the system's packages, for `make test-ui`. Nothing else needs them.
set -euo pipefail

stop() {
    printf 'test-ui: %s\n' "$@" >&2
    exit 1
}

if { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null &&
    command -v chromedriver >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    stop "Chromium with chromedriver is not installed, and only apt's packages are installed by themselves here." \
        "Install both by your system's package manager (macOS: brew install --cask chromium chromedriver), and run make test-ui again."
fi
if [ "$(id -u)" != 0 ]; then
    stop "Chromium with chromedriver is not installed, and installing it takes root." \
        "Run: sudo apt-get update && sudo apt-get install --no-install-recommends chromium chromium-driver"
fi
apt-get update -qq -o DPkg::Lock::Timeout=300
# Ubuntu has it only as a snap, which no container runs.
[ -n "$(apt-cache search --names-only '^chromium-driver$')" ] || stop "apt has no package chromium-driver." \
    "Install Chrome and chromedriver of the same version from https://googlechromelabs.github.io/chrome-for-testing, and run make test-ui again."
echo "test-ui: installing chromium"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    chromium chromium-driver >/dev/null
