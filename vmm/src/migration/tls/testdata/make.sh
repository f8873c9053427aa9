#!/bin/sh
# Makes the certificates of this folder anew: two CAs, and those whom they vouch for. They are for tests alone, valid for a
# hundred years, and their keys are no secret.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ca() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$1.key" -out "$1.crt" \
        -subj "/CN=kubevmm test $1" -days 36500 -addext keyUsage=critical,keyCertSign,cRLSign 2> "$work/log"
}

leaf() { # NAME CA NAMES PURPOSES FIRST-DAY LAST-DAY KEY…
    name=$1 ca=$2 names=$3 purposes=$4 first=$5 last=$6
    shift 6
    openssl req -new -newkey "$@" -nodes -keyout "$name.key" -out "$work/$name.csr" -subj "/CN=$name" 2> "$work/log"
    mkdir -p "$work/$ca-issued"
    : > "$work/index"
    cat > "$work/conf" <<END
[ca]
default_ca = it
[it]
database = $work/index
new_certs_dir = $work/$ca-issued
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $purposes
subjectAltName = $names
END
    openssl ca -batch -notext -config "$work/conf" -cert "$ca.crt" -keyfile "$work/$ca.key" -in "$work/$name.csr" \
        -out "$name.crt" -startdate "$first" -enddate "$last" 2> "$work/log"
}

both=serverAuth,clientAuth
from=20260101000000Z
until=21260101000000Z
ca ca
ca other-ca
leaf node ca DNS:node.test,IP:127.0.0.1 "$both" $from $until ec -pkeyopt ec_paramgen_curve:P-256
leaf rsa ca DNS:rsa.test,IP:127.0.0.1 "$both" $from $until rsa:2048
leaf expired ca DNS:node.test,IP:127.0.0.1 "$both" 20200101000000Z 20210101000000Z ec -pkeyopt ec_paramgen_curve:P-256
leaf serves ca DNS:node.test,IP:127.0.0.1 serverAuth $from $until ec -pkeyopt ec_paramgen_curve:P-256
leaf stranger other-ca DNS:node.test,IP:127.0.0.1 "$both" $from $until ec -pkeyopt ec_paramgen_curve:P-256
