#!/usr/bin/env python3
"""Compiles the CUDA kernels to PTX with a pinned NVRTC, and assembles the PTX for every GPU generation that is supported.

  Scripts/ptx.py make     writes Sources/CUDAKernels/ptx/*.ptx
  Scripts/ptx.py check    requires that `make` would write the same bytes, then assembles each file for all targets and fails on spills,
                          unresolved externs or more registers than a kernel's launch bounds leave it

NVRTC and ptxas come from PyPI, into .build-nvidia; building and running the package needs neither.
"""
import ctypes, pathlib, re, subprocess, sys, zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "Sources/CUDAKernels"
TOOLS = ROOT / ".build-nvidia"
# NVRTC 12.1 writes PTX 8.1, which drivers from R530 on take; ptxas 12.9 is the first that knows sm_120 and the last for all six.
PACKAGES = ["nvidia-cuda-nvrtc-cu12==12.1.105", "nvidia-cuda-nvcc-cu12==12.9.86"]
TARGETS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
OPTIONS = ["--gpu-architecture=compute_80", "--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"]


def tools():
    if not (TOOLS / "nvidia").exists():
        wheels = TOOLS / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", wheels, *PACKAGES], check=True)
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(TOOLS)
            wheel.unlink()
    nvrtc = ctypes.CDLL(str(TOOLS / "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"))
    ptxas = TOOLS / "nvidia/cuda_nvcc/bin/ptxas"
    ptxas.chmod(0o755)
    return nvrtc, ptxas


def text(nvrtc, program, size_of, get):
    size = ctypes.c_size_t()
    getattr(nvrtc, size_of)(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, get)(program, buffer)
    return buffer.value.decode()


def compile(nvrtc, path):
    """The PTX of one kernel file."""
    headers = {header.name: header.read_bytes() for header in sorted([*SOURCE.glob("*.cuh"), *SOURCE.glob("include/*.h"), SOURCE / "decode.cu"])}
    names = (ctypes.c_char_p * len(headers))(*[name.encode() for name in headers])
    bodies = (ctypes.c_char_p * len(headers))(*headers.values())
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), path.name.encode(), len(headers), bodies, names)
    options = (ctypes.c_char_p * len(OPTIONS))(*[option.encode() for option in OPTIONS])
    status = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options)
    log = text(nvrtc, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").strip()
    if status or log:
        sys.exit(f"{path.name}: NVRTC says:\n{log}")
    lines = text(nvrtc, program, "nvrtcGetPTXSize", "nvrtcGetPTX").rstrip("\0\n").splitlines()
    # Constants that were folded into the code leave unused variables behind, some named after the file's place.
    body = "\n".join(line for line in lines if not line.startswith(".global"))
    used = [line for line in lines if line.startswith(".global") and re.search(r"(\w+)(\[\d*\])?( = .*)?;", line)[1] in body]
    if used:
        sys.exit(f"{path.name}: expected no global variables; found {used}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in body.splitlines())) + "\n"


def assemble(ptxas, path, target):
    """Problems that ptxas reports, and for each kernel its registers and shared bytes."""
    command = [ptxas, "-v", f"-arch={target}", path, "-o", "/dev/null"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return [f"{path.name} for {target}: {result.stderr.strip()}"], {}
    problems, kernels, name = [], {}, None
    limits = {match[1]: (int(match[2]), int(match[3] or 1)) for match in re.finditer(
        r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+), 1, 1(?:\s*\.minnctapersm (\d+))?", path.read_text(encoding="utf-8"))}
    for line in result.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name = match[1]
        if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if match[1] != "0" or match[2] != "0":
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
                problems.append(f"{name} for {target} uses {match[1]} registers; {blocks} blocks of {threads} threads leave {65536 // (threads * blocks)}")
        if "extern" in line.lower() or "warning" in line.lower():
            problems.append(f"{path.name} for {target}: {line.strip()}")
    return problems, kernels


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("make", "check"):
        sys.exit(__doc__)
    nvrtc, ptxas = tools()
    folder = SOURCE / "ptx"
    sources = sorted(SOURCE.glob("*.cu"))
    images = {path.stem + ".ptx": compile(nvrtc, path) for path in sources if len(sys.argv) < 3 or path.stem in sys.argv[2:]}
    problems = []
    if sys.argv[1] == "make":
        folder.mkdir(exist_ok=True)
        for name, image in images.items():
            (folder / name).write_text(image, encoding="utf-8")
        if len(sys.argv) < 3:
            for stale in set(folder.glob("*.ptx")) - {folder / name for name in images}:
                stale.unlink()
    else:
        for name in sorted({path.name for path in folder.glob("*.ptx")} ^ set(images)):
            problems.append(f"{name} is in one of Sources/CUDAKernels and its folder ptx only")
        for name, image in images.items():
            if (folder / name).exists() and (folder / name).read_text(encoding="utf-8") != image:
                problems.append(f"{name} is not what its source gives; run Scripts/ptx.py make")
    registers = {}
    for name in images:
        for target in TARGETS:
            found, kernels = assemble(ptxas, folder / name, target)
            problems += found
            for kernel, count in kernels.items():
                registers.setdefault(kernel, {})[target] = count
    print(f"{'registers':32}" + "".join(f"{target:>8}" for target in TARGETS))
    for kernel, counts in registers.items():
        print(f"{kernel:32}" + "".join(f"{counts.get(target, '-'):>8}" for target in TARGETS))
    if problems:
        sys.exit("\n".join(problems))


main()
