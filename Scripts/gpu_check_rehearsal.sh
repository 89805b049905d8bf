#!/usr/bin/env bash
# Rehearses both calls of the run.sh that Scripts/gpu-check packed, on the driver that runs kernels on the CPU, and then
# repeats parts of them with planted faults.
#
# usage: gpu_check_rehearsal.sh BUNDLE LIBCUDAONCPU
set -euo pipefail
bundle=$1 library=$2
# The results are kept for reading when something is unexpected.
results=$PWD/.build/gpu-check-results
rm -rf "$results"
mkdir -p "$results"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/driver" "$scratch/tools"
ln -s "$library" "$scratch/driver/libcuda.so.1"
export LD_LIBRARY_PATH=$scratch/driver

# Replaces NVIDIA's tools, which need a GPU: only runs the given command.
cat >"$scratch/tools/tool" <<'END'
#!/usr/bin/env bash
case $1 in --import)
  echo "a report"
  exit
  ;;
esac
while [ $# -gt 0 ] && [[ $1 != */bitnet ]]; do shift; done
exec "$@"
END
chmod +x "$scratch/tools/tool"
ln -s tool "$scratch/tools/ncu"
ln -s tool "$scratch/tools/compute-sanitizer"

# Replaces bitnet: has a fault after the first check of the part of `verify` that FAULTY_CHECKS names.
cat >"$scratch/faulty" <<END
#!/usr/bin/env bash
case \$* in *"--checks \$FAULTY_CHECKS"*) ;; *) exec "$bundle/bitnet" "\$@" ;; esac
END
cat >>"$scratch/faulty" <<'END'
checks='{"kind":"machine","name":"planted"}
{"equal":true,"kind":"check","name":"the check before the fault"}'
echo "$checks"
case $FAULT in
  hang)
    # Like a process that the driver holds: it does not end on SIGTERM.
    trap '' TERM
    sleep 1000
    ;;
  crash)
    echo "Error: cuLaunchCooperativeKernel failed: planted" >&2
    kill -SEGV $$
    ;;
  wrong)
    echo '{"differing":3,"equal":false,"first":[{"expected":"1","found":"2","index":7}],"kind":"check",' \
      '"name":"the wrong check"}'
    exit 1
    ;;
esac
END
chmod +x "$scratch/faulty"

failures=0
# expect FILE PATTERN...: requires a line for each pattern in a summary.
expect() {
  local file=$1 pattern
  shift
  for pattern in "$@"; do
    if ! grep -q -e "$pattern" "$file"; then
      echo "$file has no line like $pattern; expected one:" >&2
      cat "$file" >&2
      failures=$((failures + 1))
    fi
  done
}

# whole FOLDER: requires at most eight flat files, and valid JSON in the summary and in each JSON Line.
whole() {
  python3 - "$1" <<'END'
import json, pathlib, re, sys
folder = pathlib.Path(sys.argv[1])
files = sorted(folder.iterdir())
names = [file.name for file in files]
assert len(files) <= 8 and all(file.is_file() and re.fullmatch(r"[\w.-]+", file.name) for file in files), names
assert all(file.stat().st_size < 16 << 20 for file in files), "a file has 16 MiB or more"
summary = json.loads((folder / "summary.json").read_text())
assert summary["ended"], "the call did not end"
for name in {"summary.jsonl", "verify.jsonl"} & set(names):
    for line in (folder / name).read_text().splitlines():
        json.loads(line)
END
}

# call NAME STATUS ARGUMENTS...: runs run.sh and requires the exit status STATUS.
call() {
  local name=$1 expected=$2 status=0
  shift 2
  echo "== rehearsal: $name"
  OUT=$results/$name "$bundle/run.sh" "$@" --quick >"$scratch/output" 2>&1 || status=$?
  if [ "$status" != "$expected" ]; then
    echo "run.sh $* ended with status $status; expected $expected:" >&2
    cat "$scratch/output" >&2
    failures=$((failures + 1))
  fi
  grep '^-- ' "$scratch/output" || true
  whole "$results/$name" || failures=$((failures + 1))
}

# A variant with the unchanged kernels. The archive is already packed.
mkdir -p "$bundle/variants/same"
cp Sources/CUDAKernels/ptx/decode.ptx "$bundle/variants/same"
call call-1 0 1
rm -r "$bundle/variants/same"
for part in verify-kernels verify-products verify-operations verify-cooperative headline-screened headline-full \
  trace-screened trace-full variants-same-verify variants-same-speed verify-soak prompts kernels; do
  expect "$results/call-1/summary.json" "\"$part\", \"result\": \"ok\""
done
PATH=$scratch/tools:$PATH call call-2 0 2
for part in ncu-decode ncu-screen_1 ncu-gemm_activate ncu-attend_prompt kernels model model-operations \
  sanitizer-memcheck sanitizer-initcheck sanitizer-racecheck sanitizer-synccheck; do
  expect "$results/call-2/summary.json" "\"$part\", \"result\": \"ok\""
done

export BITNET=$scratch/faulty FAULTY_CHECKS=products
few=(1 --only verify-kernels,verify-products,prompts)
others=('"verify-kernels", "result": "ok"' '"prompts", "result": "ok"')
FAULT=hang call hang 1 "${few[@]}" --part-limit 8
expect "$results/hang/summary.json" \
  '"verify-products", "result": "stopped after .*"last_check": "the check before the fault"' "${others[@]}"
FAULT=crash call crash 1 "${few[@]}"
expect "$results/crash/summary.json" \
  '"verify-products", "result": "failed with status 139".*cuLaunchCooperativeKernel failed' "${others[@]}"
FAULT=wrong call wrong 1 "${few[@]}"
expect "$results/wrong/summary.json" \
  '"verify-products", "result": "failed with status 1".*index\\":7.*the wrong check' "${others[@]}"

# Faults in the kernels themselves: a wrong number, and a grid barrier that a block never reaches.
unset BITNET
few=(1 --only verify-operations,verify-cooperative,prompts)
others=('"verify-operations", "result": "ok"' '"prompts", "result": "ok"')
CUDA_ON_CPU_PLANTED=decode_one:selftest_planted_wrong_decode call wrong-decode 1 "${few[@]}"
expect "$results/wrong-decode/summary.json" \
  '"verify-cooperative", "result": "failed with status 1".*one cooperative kernel.*token' "${others[@]}"
CUDA_ON_CPU_PLANTED=decode_one:selftest_planted_absent_block call absent-block 1 "${few[@]}"
stalled='waited in vain at hand-over 1, before attention of layer 0'
expect "$results/absent-block/summary.json" \
  '"verify-cooperative", "result": "failed with status 1".*'"$stalled" "${others[@]}"

if ((failures > 0)); then
  echo "the rehearsal found $failures failures; the results are in $results" >&2
  exit 1
fi
