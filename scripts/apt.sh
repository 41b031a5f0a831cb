# Programs by the system's packages, for scripts that source this; `target` is the command of make that needs them.

stop() {
    printf "$target: %s\n" "$@" >&2
    exit 1
}

# Ends with what to do unless apt may install the packages, and reads its lists: WHAT HINT PACKAGE...
need_apt() {
    local what="$1" hint="$2"
    shift 2
    if ! command -v apt-get >/dev/null; then
        stop "$what not installed, and only apt's packages are installed by themselves here." "$hint"
    fi
    if [ "$(id -u)" != 0 ]; then
        stop "$what not installed, and installing takes root." \
            "Run: sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    fi
    apt-get update -qq -o DPkg::Lock::Timeout=300
}

# Only programs are installed: no service of a package is started.
apt_install() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    echo "$target: installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}
