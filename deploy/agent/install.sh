#!/bin/sh
# Installs the agent of fleet on this machine, enrols it, and starts it. Made by the server for itself; holds no secret.
#
#   curl -fsSL SERVER/install.sh | sudo FLEET_TOKEN="$token" sh
#
# Running it again changes nothing where the agent is the server's newest, enrolled and set to start.
#
#   FLEET_TOKEN        an enrolment token; or
#   FLEET_TOKEN_FILE   a file with one, of mode 600; it is removed once the device is enrolled
#   FLEET_NAME         the device's name [the host name]
#   FLEET_CA_FILE      whom to trust for the download, where the server's certificate comes from the fleet itself (PEM)
#   FLEET_INIT         systemd, openrc, cron or none [what this machine has]
#   FLEET_ENROL        now, or first-start: leave the token for the agent, as images need it
#   FLEET_ROOT         install below this folder, for an image: nothing is started, and FLEET_ENROL is first-start
set -eu

server='@SERVER@'

say() { printf 'fleet: %s\n' "$*"; }
fail() {
    printf 'fleet: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# What the server has for a platform; empty where it has nothing.
digest_of() {
    case "$1" in
@DIGESTS@
    *) ;;
    esac
}

platform() {
    [ "$(uname -s)" = Linux ] || fail "there is no agent for $(uname -s)"
    case "$(uname -m)" in
    x86_64 | amd64) echo linux-x86_64 ;;
    aarch64 | arm64) echo linux-aarch64 ;;
    armv7*) echo linux-armv7 ;;
    i386 | i486 | i586 | i686) echo linux-i686 ;;
    riscv64) echo linux-riscv64 ;;
    *) fail "there is no agent for $(uname -m)" ;;
    esac
}

sha256() {
    if have sha256sum; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif have openssl; then
        openssl dgst -sha256 <"$1" | sed 's/^.*= *//'
    elif have shasum; then
        shasum -a 256 <"$1" | cut -d ' ' -f 1
    else
        fail "sha256sum, openssl or shasum is needed to verify the download"
    fi
}

download() {
    if have curl; then
        set -- -fsSL --retry 3 --max-time 600 -o "$2" "$1"
        [ -z "${FLEET_CA_FILE:-}" ] || set -- --cacert "$FLEET_CA_FILE" "$@"
        curl "$@"
    elif have wget; then
        set -- -q -O "$2" "$1"
        [ -z "${FLEET_CA_FILE:-}" ] || set -- "--ca-certificate=$FLEET_CA_FILE" "$@"
        wget "$@"
    else
        fail "curl or wget is needed"
    fi
}

# Puts standard input into a file, if that says something else so far; sets changed.
place() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.fleet-new"
    if [ -f "$1" ] && cmp -s "$1" "$1.fleet-new"; then
        rm -f "$1.fleet-new"
    else
        chmod "$2" "$1.fleet-new"
        mv -f "$1.fleet-new" "$1"
        changed=yes
    fi
}

init_system() {
    if [ -n "${FLEET_INIT:-}" ]; then
        echo "$FLEET_INIT"
    elif [ -z "$root" ] && [ -d /run/systemd/system ]; then
        echo systemd
    elif [ -n "$root" ] && [ -d "$root/lib/systemd/system" ]; then
        echo systemd
    elif [ -x "$root/sbin/openrc-run" ]; then
        echo openrc
    elif [ -d "$root/etc/cron.d" ]; then
        echo cron
    else
        echo none
    fi
}

# Points a link somewhere, if it points elsewhere so far; sets changed.
point() {
    [ "$(readlink "$2" || true)" = "$1" ] && return
    mkdir -p "$(dirname "$2")"
    ln -sfn "$1" "$2"
    changed=yes
}

install_binary() {
    if [ -x "$binary" ] && [ "$(sha256 "$binary")" = "$digest" ]; then
        return
    fi
    say "downloading the agent for $platform"
    mkdir -p "$(dirname "$binary")"
    # Beside its place, so that it is put there in one step; gone whatever happens.
    new="$binary.fleet-new"
    trap 'rm -f "$new"' EXIT
    download "$server/agent/v1/binaries/$platform/$digest" "$new" || fail "the agent could not be downloaded from $server"
    found=$(sha256 "$new")
    [ "$found" = "$digest" ] || fail "the download is damaged or not what the server promised ($found instead of $digest); nothing was changed"
    chmod 755 "$new"
    "$new" --version >/dev/null 2>&1 || fail "the agent does not run on this machine; nothing was changed"
    mv -f "$new" "$binary"
    trap - EXIT
    changed=yes
}

enrolled() { "$binary" status --state "$state" >/dev/null 2>&1; }

enrol() {
    if enrolled; then
        return
    fi
    token_file="$root/etc/fleet/enrolment-token"
    if [ -z "${FLEET_TOKEN:-}" ] && [ -z "${FLEET_TOKEN_FILE:-}" ] && [ ! -f "$token_file" ]; then
        fail "the agent is installed, but not enrolled: say FLEET_TOKEN or FLEET_TOKEN_FILE"
    fi
    changed=yes
    if [ "$when" = first-start ]; then
        [ ! -f "$token_file" ] || return 0
        mkdir -p "$root/etc/fleet"
        (
            umask 077
            if [ -n "${FLEET_TOKEN:-}" ]; then
                printf '%s\n' "$FLEET_TOKEN" >"$token_file"
            else
                cat "$FLEET_TOKEN_FILE" >"$token_file"
            fi
        )
        say "the token is left for the agent's first start"
        return
    fi
    set -- --state "$state"
    [ -z "${FLEET_NAME:-}" ] || set -- "$@" --name "$FLEET_NAME"
    if [ -z "${FLEET_TOKEN:-}" ]; then
        unset FLEET_TOKEN
        set -- "$@" --token-file "${FLEET_TOKEN_FILE:-$token_file}"
    fi
    "$binary" enrol "$@" || fail "this machine was not enrolled"
}

unit() {
    cat <<'UNIT'
@UNIT@
UNIT
}

openrc_service() {
    cat <<'SERVICE'
#!/sbin/openrc-run
name="fleet-agent"
description="Lets a fleet server see this device and run work on it"
supervisor="supervise-daemon"
command="/usr/local/bin/fleet-agent"
command_args="run"
respawn_delay=5
respawn_max=0
output_log="/var/log/fleet-agent.log"
error_log="/var/log/fleet-agent.log"

depend() {
    need net
    after firewall
}
SERVICE
}

# Where nothing else keeps services: looked at every five minutes, and at boot.
cron_lines() {
    cat <<'CRON'
# fleet-agent: one runs at a time, by the lock of its state directory.
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
@reboot root /usr/local/bin/fleet-agent run >>/var/log/fleet-agent.log 2>&1
*/5 * * * * root /usr/local/bin/fleet-agent status --json | grep -q '"enrolled":true.*"running":false' && exec /usr/local/bin/fleet-agent run >>/var/log/fleet-agent.log 2>&1
CRON
}

install_service() {
    case "$init" in
    systemd)
        unit | place "$root/etc/systemd/system/fleet-agent.service" 644
        if [ -n "$root" ]; then
            point /etc/systemd/system/fleet-agent.service "$root/etc/systemd/system/multi-user.target.wants/fleet-agent.service"
        elif [ "$changed" = yes ] || ! systemctl -q is-enabled fleet-agent || ! systemctl -q is-active fleet-agent; then
            systemctl daemon-reload
            systemctl -q enable fleet-agent
            systemctl restart fleet-agent
            changed=yes
        fi
        ;;
    openrc)
        openrc_service | place "$root/etc/init.d/fleet-agent" 755
        if [ -n "$root" ]; then
            point /etc/init.d/fleet-agent "$root/etc/runlevels/default/fleet-agent"
        elif [ "$changed" = yes ] || ! rc-service fleet-agent status >/dev/null 2>&1; then
            rc-update -q add fleet-agent default
            rc-service fleet-agent restart
            changed=yes
        fi
        ;;
    cron)
        cron_lines | place "$root/etc/cron.d/fleet-agent" 644
        [ -n "$root" ] || [ "$changed" = no ] || say "cron starts the agent within five minutes"
        ;;
    none) say "nothing here starts services; start '$binary run' yourself" ;;
    *) fail "FLEET_INIT is systemd, openrc, cron or none" ;;
    esac
}

main() {
    root="${FLEET_ROOT:-}"
    root="${root%/}"
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "run this as root"
    if [ -n "$root" ]; then
        when="${FLEET_ENROL:-first-start}"
    else
        when="${FLEET_ENROL:-now}"
    fi
    changed=no
    binary="$root/usr/local/bin/fleet-agent"
    state="$root/var/lib/fleet-agent"
    platform=$(platform)
    digest=$(digest_of "$platform")
    [ -n "$digest" ] || fail "this server has no agent for $platform; its operator uploads one: fleet agents upload"
    init=$(init_system)
    install_binary
    enrol
    install_service
    if [ "$changed" = no ]; then
        say "nothing to do: the agent is installed, enrolled and set to start"
    else
        say "done"
    fi
}

# Last, so that half a script does nothing.
main
