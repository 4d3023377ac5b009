# Waits for the test process to go, then ends what works below its scratch directory ($1) and
# removes it. Postmasters get SIGQUIT first, so that they take their shared memory with them.
root=$1
trap '' INT TERM HUP
while read -r _; do :; done

working() {
    for process in /proc/[0-9]*; do
        directory=$(readlink "$process/cwd" 2>/dev/null) || continue
        case $directory in
            "$root" | "$root"/*) echo "${process#/proc/}" ;;
        esac
    done
}

for pid in $(working); do
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
        postgres*) kill -QUIT "$pid" 2>/dev/null; kill -CONT "$pid" 2>/dev/null ;;
        *) kill -KILL "$pid" 2>/dev/null ;;
    esac
done
tries=0
while [ -n "$(working)" ] && [ $tries -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
for pid in $(working); do
    kill -KILL "$pid" 2>/dev/null
done
[ -n "$PGTRAIL_TEST_KEEP" ] || rm -rf "$root"
