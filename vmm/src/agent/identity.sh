# Run in the guest of a clone: NAME ID [OLD=NEW…], the host name and the machine ID to take over (empty: none), and what
# becomes of hardware addresses. Standard input is random bytes.
name=$1 id=$2
shift 2
failed=
cat > /dev/urandom || failed="$failed, random numbers"
if [ -n "$name" ]; then
    hostnamectl set-hostname "$name" 2> /dev/null ||
        { hostname "$name" && { [ ! -w /etc/hostname ] || echo "$name" > /etc/hostname; }; } ||
        failed="$failed, the host name"
fi
if [ -n "$id" ] && [ -s /etc/machine-id ]; then
    echo "$id" > /etc/machine-id || failed="$failed, the machine ID"
fi
for pair in "$@"; do
    old=${pair%=*} new=${pair#*=} found=
    for card in /sys/class/net/*; do
        # Bridges and VLANs on a card have its address, too, and follow it by themselves.
        if [ -e "$card/device" ] && [ "$(cat "$card/address")" = "$old" ]; then
            found=${card##*/}
            ip link set dev "$found" address "$new" || failed="$failed, the address of $found"
            networkctl renew "$found" 2> /dev/null
        fi
    done
    [ -n "$found" ] || failed="$failed, the address $old, which no card has"
done
[ -z "$failed" ] || { echo "not set: ${failed#, }" >&2; exit 1; }
