# Ends a test's Postgres server and removes its folder, however the test ended. Started by guard.rs; not for people.
#   guard.sh FOLDER          waits until standard input closes
#   guard.sh FOLDER STATE    waits until nobody has held a lock on STATE/lease for some seconds; STATE/server names the shared server
folder=$1
state=${2-}
data=$folder/disk/data
# The terminal's Ctrl-C and a test runner's SIGTERM are for the test; this is what tidies up behind it.
trap '' HUP INT TERM

# The server's process, if it is still there: it works in its data folder, which no later process of the same number does.
server() {
    read -r pid <"$data/postmaster.pid" || return 1
    [ "$(readlink "/proc/$pid/cwd")" = "$data" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
} 2>/dev/null

end() {
    shared_memory=$(sed -n '7s/.* //p' "$data/postmaster.pid" 2>/dev/null)
    if server; then
        kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) 2>/dev/null
        kill -QUIT "$pid"
        tries=0
        while server && [ $tries -lt 500 ]; do
            sleep 0.02
            tries=$((tries + 1))
        done
        server && kill -KILL "$pid"
    fi
    # What `kill -9` leaves of a server: the segment that guards its data folder.
    [ -f "$data/postmaster.pid" ] && [ -n "$shared_memory" ] && ipcrm -m "$shared_memory" 2>/dev/null
    umount -l "$folder/disk" 2>/dev/null
    rm -rf "$folder"
}

if [ -z "$state" ]; then
    cat >/dev/null
    end
    exit
fi

exec 8>"$state/starting" 9>"$state/lease"
# Whoever starts the server holds this lock until it runs.
flock 8
flock -u 8
idle=0
while server; do
    sleep 2
    flock 8
    if flock -n 9; then idle=$((idle + 1)); else idle=0; fi
    # Still holding both: nobody starts a server while this one ends.
    [ $idle -ge 5 ] && break
    flock -u 9
    flock -u 8
done
grep -qF "$folder" "$state/server" 2>/dev/null && rm -f "$state/server"
end
