"""Counts instructions and loads in flight in disassembled GPU code (SASS), for Scripts/ptx.py.

SASS contains no comments of the source, so loops are found by their shape: the instructions between a branch and its
earlier target are a loop. For each kind of product (IDP, IMMA, FFMA), the report has the innermost loops with at least
FEWEST products. Inner loops without products do not count, because short waits and shuffles are loops too.

Loads in flight are counted in the order of the text, as if no forward branch were taken. A load of global memory is in
flight from its place to the first instruction that names one of its registers; that instruction waits for this load and
for all older ones. `flight` is the largest number of loads in flight at a wait, and `bytes` the largest number of bytes
per thread. `trips` is the number of waits for a load that was issued after the previous trip's wait: each costs the
latency of memory if no other warp hides it, so many trips with few loads mean loads one after another. A loop is walked
several times and its last turn counts, so that loads for the next turn are seen. `ahead` is the number of loads whose
registers no instruction has named yet when a loop is reached from above. `copies` is the largest number of copies to
shared memory (LDGSTS, the column async) in flight at a DEPBAR, which waits until at most the given number of groups is
open. Polls of other blocks' counters, after which the cache is invalidated (CCTL.IVALL), are not counted as loads.
"""
import re, subprocess

FEWEST = 8
TURNS = 6
PRODUCTS = ["IDP", "IMMA", "FFMA"]
KINDS = {
    "bits": ("LOP", "SHF", "PRMT", "SHL", "SHR", "BFE", "SGXT", "ULOP", "USHF", "UPRMT"),
    "move": ("MOV", "IMAD.MOV", "UMOV", "CS2R", "R2UR"),
    "LDG": ("LDG.", "LDG", "LD.", "LD"), "LDS": ("LDS.", "LDS", "LDSM"), "async": ("LDGSTS",), "BAR": ("BAR",),
}
COLUMNS = ["product", *KINDS, "other"]


class Instruction:
    """One line of SASS: its name, the registers that it writes (loads only), and all registers that it names."""

    def __init__(self, text):
        match = re.match(r"(?:@!?U?P\w+\s+)?(\S+)\s*(.*)", text)
        self.name, operands = match[1], match[2]
        self.target = (
            (re.search(r"`\((\.L\w+)\)", operands) or [None, None])[1] if self.name.startswith("BRA") else None
        )
        self.isAsync = self.name.startswith("LDGSTS")
        self.isLoad = re.match(r"LDG?\b", self.name) is not None
        self.writes, self.names = set(), set()
        self.bytes = next(
            (int(size) // 8 for size in ("128", "64", "16", "8") if re.search(rf"\.[US]?{size}\b", self.name)), 4
        )
        width = 4 if ".128" in self.name else 2 if ".64" in self.name else 1
        for place, found in enumerate(re.finditer(r"\bR(\d+)(\.64)?", operands)):
            first = int(found[1])
            if self.isLoad and place == 0:
                self.writes = set(range(first, first + width))
            # Operands of IMMA and HMMA are 4, 2 and 4 registers wide; that of a store is as wide as its name says.
            wide = (
                [4, 4, 2, 4][min(place, 3)]
                if "MMA" in self.name
                else 2 if found[2] else width if self.name.startswith("ST") else 1
            )
            self.names |= set(range(first, first + wide))
        self.groups = (
            int((re.search(r"0x(\w+)", operands) or [0, "0"])[1], 16) if self.name.startswith("DEPBAR.LE SB0") else 0
        )

    def kind(self, product):
        if self.name.startswith(product):
            return "product"
        for kind, starts in KINDS.items():
            if any(self.name == start or self.name.startswith(start.rstrip(".") + ".") for start in starts):
                return kind
        return "bits" if self.name.startswith(KINDS["bits"]) else "other"


class Loads:
    """The loads in flight during a walk."""

    def __init__(self):
        # Registers, trip and bytes of the loads not waited for; registers of those not named; copies in each group, the
        # open one last.
        self.pending, self.unread, self.groups, self.trip = [], [], [0], 0
        self.start()

    def start(self):
        self.flight = self.bytes = self.trips = self.copies = 0

    def step(self, instruction):
        waited = [place for place, (registers, *_) in enumerate(self.pending) if registers & instruction.names]
        if waited:
            self.flight = max(self.flight, len(self.pending))
            self.bytes = max(self.bytes, sum(size for *_, size in self.pending))
            if self.pending[waited[-1]][1] == self.trip:
                self.trip, self.trips = self.trip + 1, self.trips + 1
            self.pending = self.pending[waited[-1] + 1:]
        self.unread = [registers for registers in self.unread if not registers & instruction.names]
        if instruction.isLoad:
            self.pending.append((instruction.writes, self.trip, instruction.bytes))
            self.unread.append(instruction.writes)
        elif instruction.isAsync:
            self.groups[-1] += 1
        elif instruction.name == "LDGDEPBAR":
            self.groups.append(0)
        elif instruction.name.startswith("DEPBAR"):
            self.copies = max(self.copies, sum(self.groups))
            closed = self.groups[:-1]
            self.groups = (closed[-instruction.groups:] if instruction.groups else []) + self.groups[-1:]


def disassemble(nvdisasm, cubin):
    """Returns each kernel's instructions and, by label, the index of the instruction after the label."""
    result = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True)
    kernels, code, labels = {}, None, None
    for line in result.stdout.splitlines():
        if match := re.match(r"\.text\.(\w+):", line):
            code, labels = [], {}
            kernels[match[1]] = code, labels
        elif match := re.match(r"(\.L\w+):", line):
            labels[match[1]] = len(code)
        elif code is not None and (match := re.match(r"\s+/\*\w{4,}\*/\s+(.*?)\s*;", line)):
            code.append(Instruction(match[1]))
            if code[-1].name == "CCTL.IVALL" and len(code) > 1:
                code[-2].isLoad = False
    return kernels


def loops(code, labels):
    """Returns the first and last instruction of each loop. Branches to the same target are one loop."""
    ends = {}
    for place, instruction in enumerate(code):
        first = labels.get(instruction.target)
        # The code ends with branches to themselves as padding.
        if first is not None and first < place:
            ends[first] = place
    return sorted(ends.items())


def measure(code, labels):
    """Returns the whole kernel's loads, and a row for each innermost loop of each product:
    (product, loop's length, counts by kind, loads)."""
    whole, ahead, found = Loads(), {}, loops(code, labels)
    heads = {first for first, _ in found}
    for place, instruction in enumerate(code):
        if place in heads:
            ahead[place] = len(whole.unread)
        whole.step(instruction)
    rows = []
    for product in PRODUCTS:
        holders = [(a, b) for a, b in found if sum(i.name.startswith(product) for i in code[a:b + 1]) >= FEWEST]
        for a, b in holders:
            if any((c, d) != (a, b) and a <= c and d <= b for c, d in holders):
                continue
            body, loads = code[a:b + 1], Loads()
            for _ in range(TURNS):
                loads.start()
                for instruction in body:
                    loads.step(instruction)
            counts = dict.fromkeys(COLUMNS, 0)
            for instruction in body:
                counts[instruction.kind(product)] += 1
            rows.append((product, len(body), counts, loads, ahead[a]))
    return whole, rows


def describe(code, labels):
    """Returns the report's lines on one kernel for one target: its size and loads, then a line for each loop."""
    whole, rows = measure(code, labels)
    # An instruction takes 16 bytes on every target.
    lines = [f"{len(code)} instructions, {16 * len(code)} bytes, {sum(i.isLoad for i in code)} loads, "
             f"flight {whole.flight}, at most {whole.bytes} bytes, trips {whole.trips}"]
    for product, length, counts, loads, ahead in rows:
        numbers = [length, *counts.values(), loads.flight, loads.bytes, loads.trips, ahead, loads.copies]
        lines.append(f"    {product:4}" + "".join(f"{number:8}" for number in numbers))
    return lines


HEADING = "    loop" + "".join(
    f"{column:>8}" for column in ["length", *COLUMNS, "flight", "bytes", "trips", "ahead", "copies"])
