#!/usr/bin/env bash
# Checks and measures the bitnet beside this script on the machine's NVIDIA GPU.
#
# usage: [OUT=FOLDER] run.sh [--quick]
#
# Leaves at most eight files in OUT (or ./gpu-check-results): summary.json, check.log, sanitizer.log and what each part found as JSON.
# Takes ten minutes at most; a part that fails or whose tools are missing stops none of the others. The exit status is 0 if
# `bitnet verify` found everything equal.
#
#   --quick  little work, for an emulated GPU.
set -euo pipefail
usage() { sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; }

quick=no
case "${1-}" in
  '') ;;
  -h | --help)
    usage
    exit 0
    ;;
  --quick) quick=yes ;;
  *)
    usage >&2
    exit 64
    ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bitnet=$here/bitnet
out=${OUT:-gpu-check-results}
log=$out/check.log
deadline=585
SECONDS=0
mkdir -p "$out"
rm -f "$out"/{summary,device,verify,kernels,model,torch}.json "$out"/{check,sanitizer}.log
# The driver keeps compiled kernels here from one part to the next.
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export CUDA_CACHE_PATH=$cache

say() { echo "$*" | tee -a "$log"; }

parts=()
verified=no
# note NAME RESULT SECONDS: remembers and tells how a part ended.
note() {
  parts+=("{\"name\": \"$1\", \"result\": \"$2\", \"seconds\": $3}")
  say "-- $1: $2 ($3 s)"
}

# part NAME LIMIT FILE COMMAND...: runs a command for LIMIT seconds at most. What it prints goes to FILE, or with - to the log.
part() {
  local name=$1 limit=$2 file=$3 start=$SECONDS status=0 left=$((deadline - SECONDS))
  shift 3
  say "== $name"
  if ((left < 5)); then
    note "$name" "skipped, no time is left" 0
    return
  fi
  if ((limit > left)); then limit=$left; fi
  if [ "$file" = - ]; then
    timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$log" || status=$?
  else
    { timeout -k 5 "$limit" "$@" >"$file"; } 2>&1 | tee -a "$log" || status=$?
  fi
  case $status in
    0) note "$name" ok $((SECONDS - start)) ;;
    124 | 137) note "$name" "stopped after $limit s" $((SECONDS - start)) ;;
    *) note "$name" "failed with status $status" $((SECONDS - start)) ;;
  esac
  return "$status"
}

# skip NAME REASON
skip() {
  say "== $1"
  note "$1" "skipped, $2" 0
}

# A program on the path or where CUDA is usually installed.
find_tool() {
  local place
  command -v "$1" && return
  for place in /usr/local/cuda/bin /usr/local/cuda-*/bin /opt/cuda/bin; do
    if [ -x "$place/$1" ]; then
      echo "$place/$1"
      return
    fi
  done
  return 1
}

verify=(verify --device cuda)
kernels=(bench kernels --device cuda --json)
model=(bench model --device cuda --json)
small=(verify --device cuda --shapes 3 --tokens 4)
if [ "$quick" = yes ]; then
  verify+=(--shapes 1 --tokens 2)
  kernels+=(--quick --shape 64x128 --shape 130x257 --batch "1,8,64")
  model+=(--quick)
  small=(verify --device cuda --shapes 1 --tokens 2)
else
  model+=(--random-2b)
fi

if command -v nvidia-smi >/dev/null; then
  part nvidia-smi 20 - nvidia-smi || true
else
  skip nvidia-smi "it is not installed"
fi
part device 60 "$out/device.json" "$bitnet" devices --bandwidth --json || true
if part verify 150 "$out/verify.json" "$bitnet" "${verify[@]}" --json; then verified=yes; fi
part kernels 150 "$out/kernels.json" "$bitnet" "${kernels[@]}" || true
part model 150 "$out/model.json" "$bitnet" "${model[@]}" || true

if python=$(command -v python3) && timeout 60 "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  part torch 60 "$out/torch.json" "$python" "$here/torch_products.py" || true
else
  skip torch "there is no torch that finds a GPU"
fi

for tool in memcheck racecheck; do
  if sanitizer=$(find_tool compute-sanitizer); then
    # What it finds is much if it is anything: the beginning will do.
    part "$tool" 75 "$out/$tool.tmp" "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$bitnet" "${small[@]}" || true
    { echo "== $tool"; cat "$out/$tool.tmp"; } >>"$out/sanitizer.log"
    rm -f "$out/$tool.tmp"
  else
    skip "$tool" "compute-sanitizer is not installed"
  fi
done

# What the GPU is called: by NVIDIA's tool, else by bitnet.
if facts=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1) && [ -n "$facts" ]; then
  name=${facts%,*} driver=${facts##*, }
else
  name=$(sed -n 's/.*"name" : "\(.*\)".*/\1/p' "$out/device.json" | head -n 1)
  driver=$(sed -n 's/.*"cuda_version" : "\(.*\)".*/for CUDA \1/p' "$out/device.json")
fi
list=$(printf ',\n    %s' "${parts[@]}")
cat >"$out/summary.json" <<END
{
  "commit": "$(cat "$here/commit")",
  "gpu": "${name:-none}",
  "driver": "${driver:-none}",
  "quick": $([ "$quick" = yes ] && echo true || echo false),
  "verified": $([ "$verified" = yes ] && echo true || echo false),
  "seconds": $SECONDS,
  "parts": [${list#,}
  ]
}
END
# What failed at once has left an empty file.
find "$out" -maxdepth 1 -name '*.json' -empty -delete
# No file larger than a megabyte: of logs that are, the ends are kept.
for file in "$out"/*.log; do
  if (($(wc -c <"$file") > 1000000)); then
    tail -c 900000 "$file" >"$file.tmp"
    mv "$file.tmp" "$file"
  fi
done
cat "$out/summary.json"
[ "$verified" = yes ]
