#!/usr/bin/env bash
# Starts a client for the rest of the job and waits until its tunnels are up; TUNNEL_… are the inputs
# of action.yml. An identity is fetched again before it ends, for links that must be dialled anew.
set -euo pipefail

folder=$RUNNER_TEMP/sluiceway
token_file=$folder/token
log=$folder/client.log
# An identity of GitHub's lives for ten minutes or less.
renew_seconds=${TUNNEL_RENEW_SECONDS:-240}

fail() {
  echo "::error::tunnel: $*"
  exit 1
}

write_token() {
  (umask 077 && printf '%s' "$1" > "$token_file.new")
  mv "$token_file.new" "$token_file"
}

fetch_identity() {
  local answer identity
  answer=$(curl --silent --show-error --fail --retry 3 --max-time 30 --get \
    --header "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
    --data-urlencode "audience=$TUNNEL_AUDIENCE" "$ACTIONS_ID_TOKEN_REQUEST_URL") || return 1
  identity=$(jq --raw-output '.value // empty' <<< "$answer")
  [ -n "$identity" ] || return 1
  echo "::add-mask::$identity"
  write_token "$identity"
}

prepare_token() {
  if [ -n "$TUNNEL_TOKEN" ] && [ -n "$TUNNEL_AUDIENCE" ]; then
    fail 'give token or audience, not both'
  elif [ -n "$TUNNEL_TOKEN" ]; then
    write_token "$TUNNEL_TOKEN"
  elif [ -z "$TUNNEL_AUDIENCE" ]; then
    fail 'give audience, for the identity of the job, or token'
  elif [ -z "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
    fail 'the job has no identity: it needs permissions: id-token: write'
  else
    fetch_identity || fail 'GitHub gave no identity for the job'
  fi
}

renew_identity() {
  while sleep "$renew_seconds" && kill -0 "$1" 2> /dev/null; do
    fetch_identity || echo 'tunnel: the identity was not renewed' >> "$log"
  done
}

# What was left empty is not given, so that the client says what it misses.
export_options() {
  export SLUICEWAY_URL=$TUNNEL_URL SLUICEWAY_TOKEN_FILE=$token_file SLUICEWAY_STATUS_DIR=$folder/run
  export SLUICEWAY_LOG_FORMAT=json
  [ -z "$TUNNEL_LOCAL" ] || export SLUICEWAY_LOCAL=$TUNNEL_LOCAL
  [ -z "$TUNNEL_UPSTREAM" ] || export SLUICEWAY_UPSTREAM=$TUNNEL_UPSTREAM
  [ -z "$TUNNEL_TCP" ] || export SLUICEWAY_TCP=$TUNNEL_TCP
  [ -z "$TUNNEL_FINGERPRINT" ] || export SLUICEWAY_AUTO_TLS_FINGERPRINT=$TUNNEL_FINGERPRINT
}

mkdir -p "$folder"
prepare_token
# The file has it; the programs below need not.
unset TUNNEL_TOKEN
# A command with its arguments, so it is split at spaces.
read -r -a program <<< "$TUNNEL_PROGRAM"
if [ "${#program[@]}" -eq 0 ]; then
  npm install --silent --no-audit --no-fund --omit=optional --prefix "$folder" "$TUNNEL_PACKAGE"
  program=("$folder/node_modules/.bin/sluiceway")
fi
export_options
nohup "${program[@]}" client > "$log" 2>&1 < /dev/null &
pid=$!
if [ -n "$TUNNEL_AUDIENCE" ]; then
  renew_identity "$pid" > /dev/null 2>&1 < /dev/null &
fi

deadline=$((SECONDS + TUNNEL_WAIT_SECONDS))
until "${program[@]}" status --local --ready > /dev/null 2>> "$log"; do
  if ! kill -0 "$pid" 2> /dev/null; then
    cat "$log"
    fail 'the client ended; its log is above'
  fi
  if [ "$SECONDS" -ge "$deadline" ]; then
    cat "$log"
    kill "$pid"
    fail "not up within $TUNNEL_WAIT_SECONDS seconds; the log of the client is above"
  fi
  sleep 0.2
done
echo "tunnel: up, process $pid"
printf 'pid=%s\nlog=%s\n' "$pid" "$log" >> "$GITHUB_OUTPUT"
