#!/usr/bin/env bash
# What an administrator would write instead of a daemon: one job after the other, each package
# downloaded, hashed, packed, made durable and recorded.
#
#   serial.sh URL_OF_ASSETS TOKEN FOLDER < job-ids
set -euo pipefail

assets=$1 token=$2 folder=$3
mkdir -p "$folder"
database=$folder/archives.db
sqlite3 "$database" 'CREATE TABLE IF NOT EXISTS archive (
    job_id TEXT PRIMARY KEY, package_id TEXT NOT NULL, sha256 TEXT NOT NULL,
    raw_bytes INTEGER NOT NULL, path TEXT NOT NULL, stored_at TEXT NOT NULL)'

get() { curl -fsS -H "X-Auth-Token: $token" "$@"; }

while read -r job; do
    answer=$(get "$assets/jobs/$job")
    [[ $answer =~ \"archive_id\":\ *\"([^\"]+)\" ]]
    package=${BASH_REMATCH[1]}
    raw=$folder/$job.bin
    get -o "$raw" "$assets/archives/$package"
    read -r digest _ < <(sha256sum "$raw")
    zip -q -j "$folder/$job.zip" "$raw"
    sync "$folder/$job.zip" "$folder"
    sqlite3 "$database" "INSERT INTO archive VALUES ('$job', '$package', '$digest',
        $(stat -c %s "$raw"), '$job.zip', strftime('%Y-%m-%dT%H:%M:%fZ'))"
    rm "$raw"
done
