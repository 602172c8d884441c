#!/usr/bin/env bash
# A build on a Ray cluster that runs already, where mmpr is installed on every node. Again and again the same line:
#   pipelines/cluster/submit.sh --source /data/vqa.jsonl --out /data/runs/mine --config internvl2-8b n=16
# `ray job stop ID` ends it gently; the job's log ends with what mmpr says last. A site fills in these two lines.
DASHBOARD=${DASHBOARD:-http://127.0.0.1:8265} # through an SSH tunnel where the cluster is elsewhere
MMPR=${MMPR:-mmpr}                            # how mmpr is started on the cluster's head

set -euo pipefail
# `ray job submit` sends a token only in this mode, also where one is at hand; a cluster that asks for none takes no notice.
if [ -n "${RAY_AUTH_TOKEN:-}" ] || [ -f "${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}" ]; then
    export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
fi
# Ray kills three seconds after a stop, unless it is told to wait; grace_s is 120. Environment variables given here show
# on the dashboard: tokens belong into the nodes' own environment.
exec ray job submit --address "$DASHBOARD" --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "180"}}' \
    ${JOB_ID:+--submission-id "$JOB_ID"} -- "$MMPR" build "$@"
