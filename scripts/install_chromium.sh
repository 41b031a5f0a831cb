#!/usr/bin/env bash
# Chromium and the program that drives it, by the system's packages, for `make test-ui`. Nothing else needs them.
set -euo pipefail
target=test-ui
. "$(dirname "$0")/apt.sh"

if { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null &&
    command -v chromedriver >/dev/null; then
    exit 0
fi
need_apt "Chromium with chromedriver is" \
    "Install both by your system's package manager (macOS: brew install --cask chromium chromedriver), and run make test-ui again." \
    chromium chromium-driver
# Ubuntu has it only as a snap, which no container runs.
[ -n "$(apt-cache search --names-only '^chromium-driver$')" ] || stop "apt has no package chromium-driver." \
    "Install Chrome and chromedriver of the same version from https://googlechromelabs.github.io/chrome-for-testing, and run make test-ui again."
apt_install chromium chromium-driver
