#!/bin/sh
# Install Crosslight from the folder that this file lies in. It uses no network and changes nothing outside its prefix.
#
# A release is a folder of its own with code, engine and Python environment. The link "current" is switched to it when
# all of it is there and loads; what was current before becomes "previous". Whatever ends this script earlier, a power
# cut too, leaves "current" as it was.
set -eu
umask 022
unset PYTHONPATH PYTHONHOME CDPATH

usage() {
    cat <<'END'
Install Crosslight from this folder, without a network.

usage: sh install.sh [--prefix DIR] [--python FILE] [--system-site-packages] [--check | --previous]

  --prefix DIR            where to install (default: /opt/crosslight)
  --python FILE           the Python to use (default: the one that the bundle is for)
  --system-site-packages  let it see the system's Python packages; a bundle that needs them does so unasked
  --check                 check files, machine, Python and disk, then stop
  --previous              switch back to the release before the current one, then stop

examples:
  sudo sh install.sh
  sh install.sh --prefix "$HOME/crosslight" --python /usr/bin/python3

exit status: 0 done; 1 broke off; 2 refused. With 1 and 2 the installed release is the same as before.
END
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 2
}

read_options() {
    prefix=/opt/crosslight python='' system_packages='' action=install
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix | --python)
            [ $# -gt 1 ] || fail "$1: expected a value, got none; see --help"
            if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
            shift
            ;;
        --system-site-packages) system_packages=yes ;;
        --check) action=check ;;
        --previous) action=previous ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "expected an option of --help, got $1" ;;
        esac
        shift
    done
    case $prefix in
    /*) ;;
    *) prefix=$(pwd)/$prefix ;;
    esac
}

check_files() {
    command -v sha256sum >/dev/null || fail "expected sha256sum, found none; install coreutils"
    [ -f "$here/SHA256SUMS" ] || fail "expected SHA256SUMS beside this file, found none; unpack the archive again"
    if ! report=$(cd "$here" && LC_ALL=C sha256sum -c SHA256SUMS 2>/dev/null); then
        wrong=$(printf '%s\n' "$report" | grep -v ': OK$' | head -n 3 | tr '\n' ' ')
        fail "expected the files that were packed, got ${wrong:-another list}; copy and unpack the archive again"
    fi
}

check_machine() {
    machine=$(uname -m)
    case $machine in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; esac
    [ "$(uname -s) $machine" = "Linux $platform" ] ||
        fail "expected Linux on $platform, got $(uname -s) on $machine; make a bundle with --platform $machine"
    if [ -n "$glibc" ]; then
        found=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || found=
        [ -n "$found" ] || fail "expected a system with glibc, got another C library; use Ubuntu, Debian or JetPack"
        [ "${found#2.}" -ge "${glibc#2.}" ] ||
            fail "expected glibc $glibc or newer, got $found; make a bundle with --glibc $found"
    fi
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
    seen=
    for candidate in ${python:-"python$wanted_python" python3}; do
        command -v "$candidate" >/dev/null || continue
        found=$(version_of "$candidate") || continue
        seen="$seen $candidate is $found;"
        if [ "$found" = "$wanted_python" ]; then
            python=$("$candidate" -c 'import sys; print(sys.executable)')
            "$python" -c 'import venv' 2>/dev/null ||
                fail "expected the module venv in $python, found none; install the package python$wanted_python-venv"
            return
        fi
    done
    fail "expected Python $wanted_python, got${seen:- none;} name one with --python, or make a bundle with --python" \
        "for the Python that is here"
}

# What the bundle leaves to the system is looked for before anything is written.
check_system() {
    [ "$sees_system" = no ] || system_packages=yes
    if [ "$opencv" = system ]; then
        "$python" -s -c 'import importlib.util as u; raise SystemExit(u.find_spec("cv2") is None)' ||
            fail "expected OpenCV of the system for $python, found none; install JetPack's (nvidia-jetpack), or make a" \
                "bundle with --opencv wheel"
    fi
    [ "$runtime" = tensorrt ] || return 0
    if ! tensorrt=$("$python" -s -c 'import tensorrt; print(tensorrt.__version__)' 2>&1); then
        fail "expected TensorRT for $python, got: $(printf '%s\n' "$tensorrt" | tail -n 1); install JetPack's" \
            "(nvidia-jetpack), or make a bundle with --runtime cpu"
    fi
    say "TensorRT $tensorrt"
    [ -z "${CUDA_ROOT:-}" ] && [ -x /usr/local/cuda/bin/nvcc ] && CUDA_ROOT=/usr/local/cuda
    [ -z "${CUDA_ROOT:-}" ] || { export CUDA_ROOT && PATH=$CUDA_ROOT/bin:$PATH; }
    command -v nvcc >/dev/null ||
        fail "expected nvcc, which pycuda is built with, found none; install JetPack's CUDA (nvidia-jetpack), or" \
            "set CUDA_ROOT to the folder that holds bin/nvcc"
    command -v c++ >/dev/null || command -v g++ >/dev/null ||
        fail "expected a C++ compiler, which pycuda is built with, found none; install g++"
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$headers/Python.h" ] ||
        fail "expected $headers/Python.h, which pycuda is built with, found none; install python$wanted_python-dev"
}

check_room() {
    place=$prefix
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    [ -w "$place" ] || fail "expected a folder to write in, got $place; run it with sudo, or name another with --prefix"
    # Python's compiled files come on top: 689 MB for 662 on x86-64 with the CPU runtimes.
    needed_mb=$((unpacked_mb * 11 / 10 + 50))
    free_mb=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1000) }')
    [ "$free_mb" -ge "$needed_mb" ] ||
        fail "expected $needed_mb MB free in $place, got $free_mb MB; free some disk, or name another --prefix"
}

lock() {
    mkdir -p "$prefix/releases"
    command -v flock >/dev/null || return 0
    exec 9>"$prefix/.lock"
    flock -n 9 || fail "expected to be the only install into $prefix, got another one at work; wait for it"
}

link() { # link NAME RELEASE: switched in one step
    ln -s "releases/$2" "$prefix/.$1.new"
    mv -fT "$prefix/.$1.new" "$prefix/$1"
}

release_at() { # release_at LINK: the release that it names, if that is there
    named=$(readlink "$prefix/$1" 2>/dev/null) || return 0
    [ ! -f "$prefix/$named/.complete" ] || basename "$named"
}

switch_to() {
    before=$(release_at current)
    rm -f "$prefix/.current.new" "$prefix/.previous.new"
    if [ "$before" != "$1" ]; then
        [ -z "$before" ] || link previous "$before"
        link current "$1"
    fi
}

drop_old_releases() {
    for old in "$prefix"/releases/*/; do
        name=$(basename "$old")
        [ "$name" = "$(release_at current)" ] || [ "$name" = "$(release_at previous)" ] || rm -rf "$old"
    done
}

clean_up() {
    status=$?
    if [ -n "${unfinished:-}" ]; then
        rm -rf "$unfinished"
        say "broke off; $prefix/current is as it was${log:+, see $log}" >&2
        [ "$status" -ne 0 ] || status=1
    fi
    exit "$status"
}

run_pip() { # run_pip REQUIREMENTS WHAT
    # The bundle's pip runs from its wheel: the device needs none. --isolated: no settings, no index of the device.
    pip=$(echo "$here"/wheels/pip-*.whl)
    "$environment/bin/python" "$pip/pip" --isolated install --quiet --no-input --no-cache-dir \
        --disable-pip-version-check --no-index --find-links "$here/wheels" --no-deps --ignore-installed \
        --no-warn-script-location --require-hashes --requirement "$1" >>"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        fail "expected $2, got the lines above; the rest is in $log"
    }
}

copy_code() {
    # Only what was packed: whatever else has come into the folder since stays there.
    sed -n 's|^[0-9a-f]*  code/||p' "$here/SHA256SUMS" | tar -C "$here/code" -cf - -T - | tar -C "$folder" -xf -
    sed -n 's|^\([0-9a-f]*\)  code/|\1  |p' "$here/SHA256SUMS" | (cd "$folder" && sha256sum -c - >/dev/null) ||
        fail "expected $folder to hold what the bundle holds, got something else; look at the disk"
    if [ -z "$engine" ] && [ -d "$prefix/current/engines/built" ]; then
        say "keeping the engine of the current release"
        cp -Rp "$prefix/current/engines/built" "$folder/engines/built"
    fi
}

install_release() {
    unfinished=$folder log=$prefix/install.log
    : >"$log"
    rm -rf "$folder"
    mkdir -p "$folder"
    say "installing $release into $folder"
    copy_code
    environment=$folder/.venv
    "$python" -m venv --without-pip ${system_packages:+--system-site-packages} "$environment"
    run_pip "$here/requirements.txt" "wheels that install"
    if [ -s "$here/sources.txt" ]; then
        say "building pycuda (minutes)"
        run_pip "$here/sources.txt" "pycuda to build"
    fi
    # The user who runs it may not write here.
    "$environment/bin/python" -m compileall -q "$folder/calib" "$folder/deploy" "$folder/engines" "$folder/train"
    for module in $imports; do
        "$environment/bin/python" -I -c "import $module" >>"$log" 2>&1 || {
            tail -n 1 "$log" >&2
            fail "expected $module to load, got the line above; the rest is in $log"
        }
    done
    "$environment/bin/python" "$folder/deploy/run_cameras.py" --help >>"$log" 2>&1 ||
        fail "expected run_cameras.py to start, got: $(tail -n 1 "$log")"
    sync
    touch "$folder/.complete"
    unfinished=
}

doctor() {
    say "current is $(release_at current); the one before: $(release_at previous)"
    "$prefix/current/.venv/bin/python" "$prefix/current/deploy/doctor.py" ||
        say "installed; the doctor found what is said above"
}

go_back() {
    [ -d "$prefix/releases" ] || fail "expected an installation in $prefix, found none; name it with --prefix"
    lock
    back=$(release_at previous)
    [ -n "$back" ] || fail "expected a release before the current one in $prefix, found none; install one first"
    switch_to "$back"
    doctor
}

main() {
    here=$(cd "$(dirname "$0")" && pwd -P)
    read_options "$@"
    if [ "$action" = previous ]; then
        go_back
        return
    fi
    check_files
    # Names of this file: release platform wanted_python glibc runtime opencv sees_system engine imports unpacked_mb.
    # shellcheck disable=SC1091,SC2154
    . "$here/bundle.env"
    check_machine
    find_python
    check_system
    check_room
    if [ "$action" = check ]; then
        say "this device can take $release"
        return
    fi
    lock
    folder=$prefix/releases/$release
    trap clean_up EXIT
    trap 'exit 1' HUP INT TERM
    if [ -f "$folder/.complete" ]; then say "$release is installed already"; else install_release; fi
    switch_to "$release"
    drop_old_releases
    doctor
}

main "$@"
