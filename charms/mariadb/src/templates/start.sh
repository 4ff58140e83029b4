#!/bin/bash
# Written by the charm. Starts MariaDB: start.sh DATA CONFIG CERTIFICATE
# Makes the data directory on the first start, and upgrades its tables when they are of an older
# series. No client gets in before that is done, and no hook waits for it.
set -euo pipefail
data=$1 config=$2 certificate=$3
PATH=$PATH:/usr/sbin:/usr/bin
installed=$data/.charmed-mlops-installed
upgrading=$data/.charmed-mlops-upgrading

# 10.11 of 10.11.19-MariaDB, as a number that grows: 10011
series() {
    [[ $1 =~ ([0-9]+)\.([0-9]+)\. ]] && echo $((10#${BASH_REMATCH[1]} * 1000 + 10#${BASH_REMATCH[2]}))
}

# where the volume or the user namespace lets no file be given to mysql, root runs it
account=mysql
chown "$account:" "$data" || account=root
# it reads the key after it has given up being root; what is newer than this is loaded by FLUSH SSL
chown "$account:" "$certificate"
sha256sum <"$certificate" >"$data/.charmed-mlops-certificate"

if [[ ! -e $installed ]]; then
    mariadb-install-db --no-defaults --datadir="$data" --user="$account" --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user=root
    echo "The system tables are complete." >"$installed"
fi

[[ $(mariadbd --version) =~ [0-9]+\.[0-9]+\.[0-9]+ ]]
version=${BASH_REMATCH[0]}
echo "$version" >"$data/.charmed-mlops-version"
# newer servers write the first, older ones the second
was=$(cat "$data/mariadb_upgrade_info" 2>/dev/null || cat "$data/mysql_upgrade_info" 2>/dev/null || true)
have=$(series "$was" || echo 0)
want=$(series "$version")
if ((have > want)); then
    echo "the data is of MariaDB $was, which $version cannot read" >&2
    exit 1
fi

server=(mariadbd --defaults-file="$config" --user="$account")
if ((have < want)); then
    echo "upgrading the tables from ${was%%-*} to $version"
    echo "${was%%-*}" >"$upgrading"
    socket=$data/upgrade.sock
    "${server[@]}" --skip-networking --socket="$socket" &
    pid=$!
    trap 'kill "$pid"; wait "$pid"; exit 143' TERM INT
    until mariadb-admin --defaults-file="$config" --socket="$socket" ping >/dev/null 2>&1; do
        kill -0 "$pid"
        sleep 0.2
    done
    mariadb-upgrade --defaults-file="$config" --socket="$socket" || {
        echo "${was%%-*} failed" >"$upgrading"
        kill "$pid"
        wait "$pid" || true
        exit 1
    }
    trap - TERM INT
    kill "$pid"
    wait "$pid" || true
fi
rm -f "$upgrading"
exec "${server[@]}"
