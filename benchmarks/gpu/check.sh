#!/usr/bin/env bash
# Checks and measures labelattack on a GPU, without network and data; sized for 8 minutes on an H100.
#
#   bash benchmarks/gpu/check.sh [--cpu] [--small] [--out FOLDER] [PART ...]
#
# Writes results.json and results.md into FOLDER (benchmarks/results/gpu) after each part. Uses VOC
# 2007 if LABELATTACK_DATA is set. --cpu --small tries the script itself, on any machine.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$here/check.py" "$@"
