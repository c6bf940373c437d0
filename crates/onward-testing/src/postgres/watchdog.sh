# Stops a server and removes its folder once nobody holds a lock any more, however its holders ended.
#   $1  the file that those who use the server hold a lock on
#   $2  the server's folder
#   $3  for how many seconds others may still come
#   $4  the file that tells others of the server, if any
lock=$1 folder=$2 linger=$3 told=$4
trap '' HUP
exec 9<"$lock" || exit 1
while :; do
  flock -x 9 || exit 1
  [ "$linger" = 0 ] && break
  flock -u 9
  sleep "$linger"
  flock -n -x 9 && break
done
# Whoever comes now waits for the lock, and then finds no server.
if [ -n "$told" ] && grep -qsF "$folder" "$told"; then rm -f "$told"; fi
# Only its own server, should another process have got its number. A process that ended has no arguments.
running() { [ -n "$pid" ] && grep -qsF "$folder" "/proc/$pid/cmdline"; }
pid=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)
running && kill -QUIT "$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  running || break
  sleep 1
done
running && kill -KILL "$pid" 2>/dev/null
rm -rf "$folder"
