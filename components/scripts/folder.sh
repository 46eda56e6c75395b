# Make a folder for root alone, unless it is there; prints its path.
# usage: folder.sh PATH
if ! [ -d "$1" ]; then
    mkdir -p "${1%/*}/"
    mkdir -m 700 "$1" || fail "$1 (k3s.snapshots.folder) cannot be made; see the line above, or choose another one"
fi
echo "$1"
