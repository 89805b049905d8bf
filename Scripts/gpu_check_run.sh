#!/usr/bin/env bash
# Checks and measures the bitnet in this script's folder on the machine's NVIDIA GPU, in two calls.
#
# usage: [OUT=FOLDER] run.sh 1|2 [--quick] [--only PART,PART] [--limit SECONDS] [--part-limit SECONDS]
#
# Call 1 (at most 330 s) compares the kernels and the engine with the CPU, then times the engine. Call 2 (at most 300 s)
# profiles the kernels, times everything, and runs NVIDIA's sanitizers. Each call writes at most eight files to OUT (or
# ./gpu-check-results), which grow while its parts run. A part that fails, hangs or lacks its tools does not stop the
# others. The exit status is 0 if no selected part of `bitnet verify` failed, was stopped, or found a difference.
#
#   --quick               little work, for an emulated GPU; triples the time limits of parts and call
#   --only LIST           run only these parts; "verify" selects all parts whose names start with "verify-"
#   --limit SECONDS       end the call after SECONDS
#   --part-limit SECONDS  stop each part after at most SECONDS
set -uo pipefail
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }
fail() {
  echo "$1" >&2
  usage >&2
  exit 64
}

call='' quick=no only='' limit='' part_limit=''
while [ $# -gt 0 ]; do
  case $1 in
    1 | 2) call=$1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    --quick) quick=yes ;;
    --only | --limit | --part-limit)
      [ $# -ge 2 ] || fail "$1 has no value; expected $1 VALUE"
      case $1 in
        --only) only=$2 ;;
        --limit) limit=$2 ;;
        *) part_limit=$2 ;;
      esac
      shift
      ;;
    *) fail "the argument is $1; expected 1 or 2 and options" ;;
  esac
  shift
done
[ -n "$call" ] || fail "the call is missing; expected 1 or 2"
# An emulated GPU on a busy machine is slow.
factor=$([ "$quick" = yes ] && echo 3 || echo 1)
if [ -z "$limit" ]; then limit=$(((call == 1 ? 330 : 300) * factor)); fi
for seconds in "$limit" "${part_limit:-0}"; do
  [[ $seconds =~ ^[0-9]+$ ]] || fail "a limit is $seconds; expected seconds"
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# A rehearsal substitutes a program with a planted fault.
bitnet=${BITNET:-$here/bitnet}
out=${OUT:-gpu-check-results}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
log=$out/check.log
verify_file=$out/verify.jsonl model_file=$out/model.jsonl kernels_file=$out/kernels.jsonl trace_file=$out/trace.csv
rm -f "$out"/{summary.json,summary.jsonl,check.log,verify.jsonl,model.jsonl,kernels.jsonl,trace.csv} \
  "$out"/{probe.json,ncu.txt,sanitizer.log}
scratch=$(mktemp -d)
# The driver caches compiled kernels here between parts.
mkdir "$scratch/cache"
export CUDA_CACHE_PATH=$scratch/cache
maximum_bytes=15000000

now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
begin=$(now)
elapsed() { echo $((($(now) - begin) / 1000)); }
# thousandths MILLISECONDS: prints them as seconds.
thousandths() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# quote TEXT: prints it as a JSON string.
quote() {
  local text
  text=$(printf %s "$1" | tr '\t\n\r' '   ' | tr -d '\000-\037' | cut -c 1-2000)
  text=${text//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

say() { echo "$*" | tee -a "$log"; }

parts=()
verified=true
name=none driver=none
# Rewrites the summary after every part, so that it covers the earlier parts however this script ends.
write_summary() {
  local list=''
  if [ ${#parts[@]} -gt 0 ]; then list=$(printf ',\n    %s' "${parts[@]}"); fi
  cat >"$scratch/summary" <<END
{
  "commit": $(quote "$(cat "$here/commit" 2>/dev/null || echo unknown)"),
  "call": $call,
  "gpu": $(quote "$name"),
  "driver": $(quote "$driver"),
  "quick": $([ "$quick" = yes ] && echo true || echo false),
  "verified": $verified,
  "seconds": $(thousandths $(($(now) - begin))),
  "ended": $1,
  "parts": [${list#,}
  ]
}
END
  mv "$scratch/summary" "$out/summary.json"
}

# note NAME RESULT MILLISECONDS [ERROR] [LAST]: records and prints how a part ended.
note() {
  local line
  line="{\"name\": $(quote "$1"), \"result\": $(quote "$2"), \"seconds\": $(thousandths "$3")"
  if [ -n "${4-}" ]; then line+=", \"error\": $(quote "$4")"; fi
  if [ -n "${5-}" ]; then line+=", \"last_check\": $(quote "$5")"; fi
  line+='}'
  parts+=("$line")
  echo "{\"kind\": \"end\", ${line#\{}" >>"$out/summary.jsonl"
  say "-- $1: $2 ($(thousandths "$3") s)${4:+: $4}"
  case $1 in verify-*) if [ "$2" != ok ]; then verified=false; fi ;; esac
  write_summary false
}

# chosen NAME: succeeds if --only includes this part.
chosen() {
  local item
  [ -n "$only" ] || return 0
  for item in ${only//,/ }; do
    case $1 in "$item" | "$item"-*) return 0 ;; esac
  done
  return 1
}

# skip NAME REASON: records a part as skipped.
skip() {
  if chosen "$1"; then note "$1" "skipped, $2" 0; fi
}

running=''
# end_group: ends the process group of the running part. A process that the driver holds does not die even from SIGKILL,
# and is left behind.
end_group() {
  [ -n "$running" ] || return 0
  kill -TERM -- "-$running" 2>/dev/null
  # A process that takes a second to end is hung.
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 -- "-$running" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL -- "-$running" 2>/dev/null
  running=''
}
finish() {
  end_group
  write_summary "$1"
  rm -rf "$scratch"
}
# Keep the results when a signal ends the script.
trap 'say "-- ended by a signal"; finish false; exit 143' TERM INT HUP

# found_of FILE OFFSET PATTERN: prints the lines with PATTERN that a part wrote to FILE beyond OFFSET.
found_of() { tail -c "+$(($2 + 1))" "$1" 2>/dev/null | grep -a -e "$3"; }
size_of() { if [ -e "$1" ]; then wc -c <"$1"; else echo 0; fi; }
# named: prints the "name" of each JSON line of the input.
named() { sed -n 's/.*"name" *: *"\([^"]*\)".*/\1/p'; }

# part NAME LIMIT FILE COMMAND...: runs a command for at most LIMIT seconds, in its own process group. Its standard
# output is appended to FILE immediately, and its standard error to the log.
part() {
  local part=$1 most=$(($2 * factor)) file=$3 start left status=0 result error='' last='' from log_from differing
  shift 3
  chosen "$part" || return 0
  if [ -n "$part_limit" ] && ((most > part_limit)); then most=$part_limit; fi
  # Leave two seconds for ending the part.
  left=$((limit - $(elapsed) - 2))
  # A third of the part's limit may still be enough.
  if ((left < 2 || left * 3 < most)); then
    note "$part" "skipped, $left s are left of the call" 0
    return 1
  fi
  if ((most > left)); then most=$left; fi
  say "== $part (at $(elapsed) s, $most s at most): $*"
  echo "{\"kind\": \"start\", \"name\": $(quote "$part"), \"at\": $(elapsed), \"limit\": $most}" \
    >>"$out/summary.jsonl"
  case $file in
    *.jsonl) echo "{\"kind\": \"part\", \"part\": $(quote "$part"), \"command\": $(quote "$*")}" >>"$file" ;;
  esac
  from=$(size_of "$file") log_from=$(size_of "$log")
  start=$(now)
  setsid "$@" </dev/null >>"$file" 2>>"$log" &
  running=$!
  result=''
  while kill -0 "$running" 2>/dev/null; do
    if (($(now) - start > most * 1000)); then
      result="stopped after $most s"
      break
    fi
    sleep 0.1
  done
  if [ -z "$result" ]; then
    wait "$running" || status=$?
    result=ok
    if [ "$status" != 0 ]; then result="failed with status $status"; fi
  fi
  # End all processes of the group. Do not wait for a process that was stopped: it may never end.
  end_group 2>/dev/null
  if [ "$result" != ok ]; then
    # After an invalid option, the last line only refers to the help.
    error=$(found_of "$log" "$log_from" '^Error' | tail -n 1)
    if [ -z "$error" ]; then error=$(found_of "$log" "$log_from" '[^[:space:]]' | tail -n 1); fi
    if [ "$file" != "$log" ]; then
      differing=$(found_of "$file" "$from" '"equal" *: *false\|"kind" *: *"error"' | grep -v '"kind" *: *"end"' |
        head -n 4 | tr '\n' ' ')
      if [ -n "$differing" ]; then error="${error:+$error; }$differing"; fi
      if [ -z "$error" ]; then error=$(found_of "$file" "$from" '[^[:space:]]' | tail -n 1); fi
      last=$(found_of "$file" "$from" '"name"' | named | tail -n 1)
    fi
  fi
  # End an incomplete last line, or the next part's first line would continue it.
  if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file"; fi
  if (($(size_of "$file") > maximum_bytes)); then
    head -c "$maximum_bytes" "$file" >"$scratch/cut" && mv "$scratch/cut" "$file"
    echo >>"$file"
  fi
  note "$part" "$result" $(($(now) - start)) "$error" "$last"
  [ "$result" = ok ]
}

# find_tool NAME: prints the path of a program in PATH or in CUDA's usual folders.
find_tool() {
  local place
  command -v "$1" && return
  for place in /usr/local/cuda/bin /usr/local/cuda-*/bin /opt/cuda/bin /opt/nvidia/nsight-compute/* \
    /usr/local/cuda/compute-sanitizer; do
    if [ -x "$place/$1" ]; then
      echo "$place/$1"
      return
    fi
  done
  return 1
}

# find_python MODULE: prints the path of a Python that has a module, without importing it, which takes seconds.
find_python() {
  local python
  for python in python3 python /opt/conda/bin/python3 /opt/venv/bin/python3 /usr/local/bin/python3 /usr/bin/python3; do
    if "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# With PyTorch, cuBLAS is in the folders of its wheels, which the loader does not search.
python=$(find_python torch) || python=$(command -v python3)
if [ -n "$python" ]; then
  wheels=$("$python" -c '
import glob, site, sysconfig
places = [sysconfig.get_paths()["purelib"], *site.getsitepackages(), site.getusersitepackages()]
folders = [folder for place in places for folder in sorted(glob.glob(place + "/nvidia/*/lib"))]
print(":".join(dict.fromkeys(folders)))' 2>/dev/null)
  if [ -n "$wheels" ]; then export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$wheels; fi
fi

# The name of the GPU. nvidia-smi can hang with the driver.
if smi=$(command -v nvidia-smi); then
  facts=$(timeout -k 1 5 "$smi" --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1) ||
    facts=''
  if [ -n "$facts" ]; then
    name=${facts%,*} driver=${facts##*, }
  fi
fi
write_summary false

verify=("$bitnet" verify --device cuda --json)
model=("$bitnet" bench model --device cuda --json)
kernels=("$bitnet" bench kernels --device cuda --json)
depths=0,1024
prompts=128,512,2048
short=(--shapes 4 --tokens 16)
least=(--shapes 1 --tokens 2)
if [ "$quick" = yes ]; then
  verify+=(--shapes 1 --tokens 2)
  model+=(--rounds 1 --tokens 4)
  kernels+=(--quick --shape 64x128)
  depths=0,16 prompts=16
  short=() least=()
else
  model+=(--random-2b)
fi

# Parts in the order of their importance.
call_1() {
  local variant spent
  if [ -n "$smi" ]; then
    part nvidia-smi 5 "$log" "$smi" -q -d CLOCK,POWER
  else
    skip nvidia-smi "it is not installed"
  fi
  # Each part is a separate process, because after an error on the device nothing works in the same process. The first
  # part waits for the driver to compile all kernels: 26 s on an H100's machine.
  part verify-kernels 75 "$verify_file" "${verify[@]}" --checks kernels
  part verify-products 30 "$verify_file" "${verify[@]}" --checks products
  # Among its random models are some for embedding, with the kernels that only they use.
  part verify-operations 55 "$verify_file" "${verify[@]}" --checks operations
  if ! part verify-cooperative 40 "$verify_file" "${verify[@]}" --checks cooperative; then
    part headline-operations 40 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch 1,8 \
      --no-cooperative
  fi
  part headline-screened 40 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch 1,8 --screen on
  part headline-full 40 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch 1,8 --screen off
  trace screened on
  trace full off
  if cupy=$(find_python cupy); then
    part probe 25 "$out/probe.json" "$cupy" "$here/gpu_check_probe.py"
  else
    skip probe "CuPy is not installed"
  fi
  spent=$(elapsed)
  for variant in "$here"/variants/*/; do
    if [ ! -d "$variant" ]; then
      skip variants "the archive contains none"
      break
    fi
    variant=${variant%/}
    if (($(elapsed) - spent > 60 * factor)); then
      skip "variants-${variant##*/}" "the 60 s for variants are over"
      continue
    fi
    part "variants-${variant##*/}-verify" 15 "$verify_file" "${verify[@]}" --checks cooperative "${short[@]}" \
      --kernels "$variant"
    # Time a wrong variant too: its next version may be right.
    part "variants-${variant##*/}-speed" 20 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch none \
      --kernels "$variant"
  done
  part verify-soak 20 "$verify_file" "${verify[@]}" --checks soak
  part prompts 25 "$model_file" "${model[@]}" --prompt "$prompts" --depth none --batch none
  if [ "$quick" = yes ]; then
    part kernels 60 "$kernels_file" "${kernels[@]}" --batch 1,8
  else
    part kernels 60 "$kernels_file" "${kernels[@]}" --quick --batch 1,8,64,512
    part verify-2b 30 "$verify_file" "${verify[@]}" --random-2b
  fi
}

# trace NAME SCREEN: records the clocks of the phases of a step, with the kernel that writes them.
trace() {
  part "trace-$1" 15 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch none --screen "$2" \
    --trace "$scratch/trace"
  if [ -s "$scratch/trace" ] && chosen "trace-$1"; then
    {
      echo "# screen $2, depths $depths"
      head -c $((maximum_bytes / 2)) "$scratch/trace"
    } >>"$trace_file"
    rm -f "$scratch/trace"
  fi
}

call_2() {
  local ncu sanitizer tool checks torch
  if ncu=$(find_tool ncu); then
    profile "$ncu" decode --prompt none --depth 0 --batch none --screen off
    profile "$ncu" screen_1 --prompt none --depth 0 --batch none --screen on
    profile "$ncu" gemm_activate --prompt "${prompts##*,}" --depth none --batch none
    profile "$ncu" attend_prompt --prompt "${prompts##*,}" --depth none --batch none
  else
    skip ncu "it is not installed"
  fi
  if [ "$quick" = yes ]; then
    part kernels 60 "$kernels_file" "${kernels[@]}" --batch 1,64
    part model 60 "$model_file" "${model[@]}" --prompt "$prompts" --depth "$depths" --batch 1,2
    part model-operations 40 "$model_file" "${model[@]}" --prompt none --depth 0 --batch none --no-cooperative
  else
    part kernels 80 "$kernels_file" "${kernels[@]}"
    part model 60 "$model_file" "${model[@]}"
    part model-operations 20 "$model_file" "${model[@]}" --prompt none --depth "$depths" --batch none \
      --no-cooperative
  fi
  sanitizer=$(find_tool compute-sanitizer) || sanitizer=''
  # Kernels whose blocks wait for each other spin for minutes under these tools, so check only the other kernels.
  for tool in memcheck:operations initcheck:operations racecheck:kernels synccheck:kernels; do
    checks=${tool#*:} tool=${tool%:*}
    if [ -n "$sanitizer" ]; then
      echo "== $tool" >>"$out/sanitizer.log"
      part "sanitizer-$tool" 35 "$out/sanitizer.log" "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 \
        "${verify[@]}" --checks "$checks" "${least[@]}"
    else
      skip "sanitizer-$tool" "compute-sanitizer is not installed"
    fi
  done
  if [ "$quick" = no ] && torch=$(find_python torch); then
    part torch 60 "$kernels_file" "$torch" "$here/torch_products.py"
  else
    skip torch "torch is not installed, or has no GPU"
  fi
}

# profile NCU KERNEL OPTIONS...: prints the sections of one launch, then each instruction's samples. The device's clocks
# are not changed.
profile() {
  local ncu=$1 name=$2 kernel=$2 report=$scratch/$2.ncu-rep
  shift 2
  # The decode step of one sequence has several forms, one for each kind of GPU.
  if [ "$name" = decode ]; then kernel='regex:^decode_(one|one_small|resident)$'; fi
  # shellcheck disable=SC2016 # The inner shell expands these.
  part "ncu-$name" 40 "$out/ncu.txt" bash -c '
    ncu=$1 report=$2 kernel=$3 status=0
    shift 3
    echo "== $kernel"
    "$ncu" --set full --clock-control none --kernel-name "$kernel" --launch-skip 10 --launch-count 1 --force-overwrite \
      --export "$report" "$@" || status=$?
    "$ncu" --import "$report" --page details --print-details all || status=$?
    echo "== $kernel, instructions"
    "$ncu" --import "$report" --page source --csv | head -c 2000000
    exit $status' ncu "$ncu" "$report" "$kernel" "${model[@]}" --rounds 1 --tokens 16 "$@"
  rm -f "$report"
}

"call_$call"
finish true
cat "$out/summary.json"
[ "$verified" = true ]
