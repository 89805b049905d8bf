#!/usr/bin/env python3
"""Compiles the CUDA kernels to PTX with a pinned NVRTC, and assembles the PTX for every supported GPU generation.

  Scripts/ptx.py make [STEM …]    writes Sources/CUDAKernels/ptx/*.ptx, and without STEM also the report in that folder
  Scripts/ptx.py check            requires that `make` would write the same bytes, and assembles each file for all
                                  targets; fails on spills, unresolved externs, more registers than a kernel's launch
                                  bounds allow, or a report that differs from the committed one
  Scripts/ptx.py report [STEM …]  prints the report (Sources/CUDAKernels/ptx/REPORT.txt): registers, instructions and
                                  loads in flight; see sass.py
  Scripts/ptx.py compile STEM     prints the PTX of one attempt
  Scripts/ptx.py variant NAME DEFINE=VALUE … [--stem STEM …]
                                  writes .build/gpu-variants/NAME/STEM.ptx with these macros (decode without --stem),
                                  and checks it for sm_90

NVRTC, ptxas and nvdisasm are downloaded from PyPI to .build-nvidia. Building and running the package needs none of
them.
"""
import concurrent.futures, ctypes, difflib, pathlib, re, subprocess, sys, tempfile, zipfile

import sass

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "Sources/CUDAKernels"
TOOLS = ROOT / ".build-nvidia"
# NVRTC 12.1 writes PTX 8.1, which drivers accept since R530. ptxas 12.9 is the first version that supports sm_120 and
# the last that supports all six targets. nvdisasm reads the code of older assemblers; there is no wheel of 12.9.
PACKAGES = {
    "cuda_nvrtc": "nvidia-cuda-nvrtc-cu12==12.1.105",
    "cuda_nvcc": "nvidia-cuda-nvcc-cu12==12.9.86",
    "cu13": "nvidia-cuda-nvdisasm==13.5.37",
}
TARGETS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
REPORTED = ["sm_80", "sm_89", "sm_90", "sm_100", "sm_120"]
REPORT = SOURCE / "ptx/REPORT.txt"
ATTEMPTS = 8
# Files whose instructions need a later generation than compute_80, and of those the ones whose multiprocessors have
# enough shared memory for them.
ARCHITECTURES = {"decode_resident": 90, "resident_traced": 90}
LARGE_TARGETS = ["sm_90", "sm_100"]
OPTIONS = [
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
]


def tools():
    """Returns the paths of NVRTC, ptxas and nvdisasm."""
    missing = [package for folder, package in PACKAGES.items() if not (TOOLS / "nvidia" / folder).exists()]
    if missing:
        wheels = TOOLS / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", wheels, *missing],
            check=True,
        )
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(TOOLS)
            wheel.unlink()
    ptxas, nvdisasm = TOOLS / "nvidia/cuda_nvcc/bin/ptxas", TOOLS / "nvidia/cu13/bin/nvdisasm"
    for program in ptxas, nvdisasm:
        program.chmod(0o755)
    return TOOLS / "nvidia/cuda_nvrtc/lib/libnvrtc.so.12", ptxas, nvdisasm


def text(nvrtc, program, size_of, get):
    size = ctypes.c_size_t()
    getattr(nvrtc, size_of)(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, get)(program, buffer)
    return buffer.value.decode()


def compile(library, path, defines=()):
    """Returns the PTX of one kernel file."""
    nvrtc = ctypes.CDLL(str(library))
    files = sorted([*SOURCE.glob("*.cu*"), *SOURCE.glob("include/*.h")])
    headers = {header.name: header.read_bytes() for header in files}
    names = (ctypes.c_char_p * len(headers))(*[name.encode() for name in headers])
    bodies = (ctypes.c_char_p * len(headers))(*headers.values())
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), path.name.encode(), len(headers), bodies, names)
    words = [f"--gpu-architecture=compute_{ARCHITECTURES.get(path.stem, 80)}", *OPTIONS, *(f"--define-macro={define}" for define in defines)]
    options = (ctypes.c_char_p * len(words))(*[word.encode() for word in words])
    status = nvrtc.nvrtcCompileProgram(program, len(words), options)
    log = text(nvrtc, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").strip()
    if status or log:
        sys.exit(f"{path.name}: NVRTC says:\n{log}")
    lines = text(nvrtc, program, "nvrtcGetPTXSize", "nvrtcGetPTX").rstrip("\0\n").splitlines()
    # Constants that were folded into the code leave unused variables, some of them named after the file's path.
    body = "\n".join(line for line in lines if not line.startswith(".global"))
    used = [
        line for line in lines if line.startswith(".global") and re.search(r"(\w+)(\[\d*\])?( = .*)?;", line)[1] in body
    ]
    if used:
        sys.exit(f"{path.name}: expected no global variables; found {used}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in body.splitlines())) + "\n"


def settled(path):
    """Returns the PTX of one kernel file: the committed text if NVRTC gives it in one of a few attempts, otherwise that
    of the last attempt.

    NVRTC breaks ties by the addresses of its own objects, so the same source gives one of several equivalent texts
    (seen with attention_prompt, in one run in five). Each attempt is a separate process, for which the system chooses
    new addresses."""
    committed = SOURCE / "ptx" / (path.stem + ".ptx")
    expected = committed.read_text(encoding="utf-8") if committed.exists() else None
    for _ in range(ATTEMPTS):
        result = subprocess.run(
            [sys.executable, "-X", "utf8", __file__, "compile", path.stem], capture_output=True, encoding="utf-8"
        )
        if result.returncode:
            sys.exit(result.stderr.strip())
        if expected in (None, result.stdout):
            break
    return result.stdout


def assemble(ptxas, nvdisasm, path, target):
    """Returns the problems that ptxas reports, and for each kernel its registers and, for a target of the report, its
    lines in the report."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder) / "cubin"
        result = subprocess.run([ptxas, "-v", f"-arch={target}", path, "-o", cubin], capture_output=True, text=True)
        if result.returncode:
            return [f"{path.name} for {target}: {result.stderr.strip()}"], {}, {}
        code = sass.disassemble(nvdisasm, cubin) if target in REPORTED else {}
    problems, kernels, spills, name = [], {}, {}, None
    limits = {match[1]: (int(match[2]), int(match[3] or 1)) for match in re.finditer(
        r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+), 1, 1(?:\s*\.minnctapersm (\d+))?",
        path.read_text(encoding="utf-8"))}
    for line in result.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name = match[1]
        if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills[name] = int(match[1]) + int(match[2])
            if spills[name]:
                problems.append(f"{name} for {target} spills: {line.strip()}")
        if match := re.search(r"(\d+) bytes stack frame", line):
            if match[1] != "0":
                problems.append(f"{name} for {target} has a stack frame: {line.strip()}")
        if match := re.search(r"Used (\d+) registers", line):
            kernels[name] = int(match[1])
            if name not in limits:
                problems.append(f"{name} has no launch bounds")
                continue
            threads, blocks = limits[name]
            if int(match[1]) * threads * blocks > 65536:
                problems.append(f"{name} for {target} uses {match[1]} registers; "
                                f"{blocks} blocks of {threads} threads leave {65536 // (threads * blocks)}")
        if "extern" in line.lower() or "warning" in line.lower():
            problems.append(f"{path.name} for {target}: {line.strip()}")
    lines = {}
    for kernel, (instructions, labels) in code.items():
        first, *rows = sass.describe(instructions, labels)
        lines[kernel] = [f"  {target}: {kernels[kernel]} registers, {spills[kernel]} bytes spilled, {first}", *rows]
    return problems, kernels, lines


def reported(lines):
    """Returns the text of the report. lines: for each kernel, the lines of its targets."""
    blocks = ["\n".join([kernel, *lines[kernel]]) for kernel in lines]
    heading = f"Written by Scripts/ptx.py make; Scripts/sass.py says what is counted.\n\n{sass.HEADING}\n\n"
    return heading + "\n\n".join(blocks) + "\n"


def variant(pool, nvrtc, ptxas, nvdisasm, words):
    """Compiles stems with macros to a separate folder, and returns the problems."""
    names, _, stems = " ".join(words).partition("--stem")
    name, *defines = names.split() or sys.exit(__doc__)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(SOURCE.glob("**/*.[ch]*")))
    for define in defines:
        if not re.search(rf"\b{re.escape(define.partition('=')[0])}\b", text):
            sys.exit(f"{define} sets a macro that no kernel file names; expected one that changes the code")
    folder = ROOT / ".build/gpu-variants" / name
    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for stem in stems.replace("--stem", "").split() or ["decode"]:
        image = folder / f"{stem}.ptx"
        image.write_text(pool.submit(compile, nvrtc, SOURCE / f"{stem}.cu", defines).result(), encoding="utf-8")
        found, _, lines = assemble(ptxas, nvdisasm, image, "sm_90")
        problems += found
        print(image.relative_to(ROOT), reported(lines), sep="\n")
    return problems


def main(pool):
    if len(sys.argv) < 2 or sys.argv[1] not in ("make", "check", "report", "variant", "compile"):
        sys.exit(__doc__)
    command, stems = sys.argv[1], sys.argv[2:]
    programs = nvrtc, ptxas, nvdisasm = tools()
    if command == "compile":
        for stem in stems:
            print(compile(nvrtc, SOURCE / f"{stem}.cu"), end="")
        return
    if command == "variant":
        if problems := variant(pool, *programs, stems):
            sys.exit("\n".join(problems))
        return
    folder = SOURCE / "ptx"
    sources = [path for path in sorted(SOURCE.glob("*.cu")) if not stems or path.stem in stems]
    names = [path.stem + ".ptx" for path in sources]
    problems = []
    if command != "report":
        images = dict(zip(names, pool.map(settled, sources)))
    if command == "make":
        folder.mkdir(exist_ok=True)
        for name, image in images.items():
            (folder / name).write_text(image, encoding="utf-8")
        if not stems:
            for stale in set(folder.glob("*.ptx")) - {folder / name for name in images}:
                stale.unlink()
    elif command == "check":
        for name in sorted({path.name for path in folder.glob("*.ptx")} ^ set(images)):
            problems.append(f"{name} is in one of Sources/CUDAKernels and its folder ptx only")
        for name, image in images.items():
            if (folder / name).exists() and (folder / name).read_text(encoding="utf-8") != image:
                problems.append(f"{name} is not what its source gives; run Scripts/ptx.py make")
    targets = REPORTED if command == "report" else TARGETS
    jobs = [(folder / name, target) for name in names if (folder / name).exists() for target in targets
            if target in LARGE_TARGETS or name.removesuffix(".ptx") not in ARCHITECTURES]
    registers, lines = {}, {}
    results = pool.map(assemble, *zip(*[(ptxas, nvdisasm, *job) for job in jobs]))
    for (_, target), (found, kernels, described) in zip(jobs, results):
        problems += found
        for kernel, count in kernels.items():
            registers.setdefault(kernel, {})[target] = count
        for kernel, block in described.items():
            lines.setdefault(kernel, []).extend(block)
    report = reported(lines)
    if command == "report":
        print(report, end="")
    else:
        print(f"{'registers':32}" + "".join(f"{target:>8}" for target in TARGETS))
        for kernel, counts in registers.items():
            print(f"{kernel:32}" + "".join(f"{counts.get(target, '-'):>8}" for target in TARGETS))
    if command == "make" and not stems:
        REPORT.write_text(report, encoding="utf-8")
    if command == "check" and not stems:
        committed = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
        if committed != report:
            changes = list(difflib.unified_diff(committed.splitlines(), report.splitlines(), "committed", "now", n=0,
                                                lineterm=""))
            problems.append(f"{REPORT.name} differs from the report on the PTX; read the changes, then run "
                            "Scripts/ptx.py make")
            problems += changes[:60] + ([f"… and {len(changes) - 60} lines more"] if len(changes) > 60 else [])
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        main(pool)
