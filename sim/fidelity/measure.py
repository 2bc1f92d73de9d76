#!/usr/bin/env python3
"""How near the simulator is to real nodes: the same small clusters, run for real and in simulation.

Real: `shoal up` in network namespaces whose links a script shapes (rate, one-way delay); simulated: the scenario that says the
same of them. What the scenario is told of a node is what its owner would know: its bound for the uplink, the link's rate and
delay, and the training speed that the node itself shows. Compared are the median over rounds of a round's time and the mean of the
bytes that a node sends in it.

  sim/fidelity/measure.py --lab LAB --shoal target/debug/shoal --sim target/release/shoal-sim [--out docs/FIDELITY.md] [ONLY]...

LAB is called as `LAB up-tap N MBIT ONEWAY_MS -g [-r MBIT,MBIT,...]`, which makes the namespaces h0 to h(N-1) with the addresses
10.77.0.1 upwards, and as `LAB down`. With -g it passes on what the kernel sends in one piece (TSO), as a network card does: cut
into packets, the same bytes cost two cores that carry them up to a fifth of a round. Needs root. ONLY names settings; without any, all are measured. Everything that is started
ends with the script.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

# Rounds that are left out at the beginning (connections open, rates are learned), and rounds that are measured.
WARM, MEASURED = 12, 12
# Longest wait for all rounds of a setting, seconds.
PATIENCE_S = 400


@dataclass(frozen=True)
class Setting:
    name: str
    mbit: tuple  # by node, both ways
    oneway_ms: float
    preset: str
    codec: str
    steps: int
    # The node's bound for its uplink, as a share of the link's rate.
    share: float = 0.9

    @property
    def nodes(self):
        return len(self.mbit)


SETTINGS = [
    Setting("4 x 20, int8", (20,) * 4, 25, "1m", "int8", 8),
    Setting("4 x 20, f32", (20,) * 4, 25, "1m", "f32", 8),
    Setting("4 x 50, f32", (50,) * 4, 10, "1m", "f32", 8),
    Setting("4 x 20, bf16, far", (20,) * 4, 50, "1m", "bf16", 4),
    Setting("4 x 50, bf16", (50,) * 4, 25, "5m", "bf16", 2),
    Setting("5 x 50, int8", (50,) * 5, 10, "1m", "int8", 8),
    Setting("4 x 50, int8, far", (50,) * 4, 50, "5m", "int8", 2),
    Setting("4 x 100, int8", (100,) * 4, 25, "5m", "int8", 2),
    Setting("4 x 100, f32", (100,) * 4, 25, "5m", "f32", 2),
    Setting("4 x 200, f32", (200,) * 4, 5, "5m", "f32", 2),
    Setting("4 x 500, int8", (500,) * 4, 5, "1m", "int8", 16),
    Setting("4 uneven, int8", (50, 50, 100, 500), 5, "5m", "int8", 2),
    Setting("6 x 50, int8", (50,) * 6, 25, "5m", "int8", 1),
    Setting("5 uneven, int8", (20, 50, 50, 100, 100), 20, "5m", "int8", 1),
    Setting("6 uneven, bf16", (20, 20, 50, 50, 100, 200), 15, "1m", "bf16", 4),
]

BATCH, CONTEXT = 2, 64


def model(preset):
    """Parameters of a preset with the byte vocabulary, as `shoal inspect` counts them."""
    dim, layers, hidden, tied = {"1m": (128, 5, 352, True), "5m": (256, 6, 704, False)}[preset]
    layer = 4 * dim * dim + 3 * dim * hidden + 2 * dim
    return 256 * dim * (1 if tied else 2) + layers * layer + dim


def run_file(setting):
    return f"""name = "fidelity"
creator = "{'1' * 64}"
rounds = {WARM + MEASURED}
[model]
preset = "{setting.preset}"
context = {CONTEXT}
[data]
stories_bytes = 1_000_000
[inner]
steps = {setting.steps}
batch = {BATCH}
[exchange]
codec = "{setting.codec}"
chunk_elems = {chunk_elems(setting)}
"""


def chunk_elems(setting):
    return 16384 if setting.preset == "1m" else 65536


def scenario(setting, tokens_per_s):
    head = f"""name = "fidelity"
learner = "phantom"
rounds = {WARM + MEASURED}
[run]
params = "{model(setting.preset)}"
context = {CONTEXT}
steps = {setting.steps}
batch = {BATCH}
up = "{setting.codec}"
down = "{setting.codec}"
chunk_elems = {chunk_elems(setting)}
"""
    return head + "".join(
        f"""[[group]]
name = "h{i}"
count = 1
tokens_per_s = {speed:.1f}
up_mbit = {mbit * setting.share}
down_mbit = {mbit}
latency_ms = {setting.oneway_ms / 2}
cores = {cores_of_a_node(setting):.3f}
"""
        for i, (mbit, speed) in enumerate(zip(setting.mbit, tokens_per_s))
    )


def cores_of_a_node(setting):
    """All nodes share this machine, and so does the program that carries packets between them."""
    return os.cpu_count() / (setting.nodes + 1)


class Real:
    """Nodes in namespaces, for as long as the block lasts."""

    def __init__(self, args, setting, folder):
        self.args, self.setting, self.folder = args, setting, folder
        self.processes = []

    def __enter__(self):
        rates = self.setting.mbit
        shape = ["up-tap", str(len(rates)), str(max(rates)), str(self.setting.oneway_ms), "-g"]
        if len(set(rates)) > 1:
            shape += ["-r", ",".join(map(str, rates))]
        subprocess.run([self.args.lab, *shape], check=True)
        run = self.folder / "run.toml"
        run.write_text(run_file(self.setting))
        for i, mbit in enumerate(rates):
            home = self.folder / f"h{i}"
            peers = [] if i == 0 else ["--peer", "10.77.0.1:4001"]
            command = ["up", run, "--home", home, "--local-dir", home / "local", "--no-mdns", *peers]
            command += ["--listen", f"10.77.0.{i + 1}:4001", "--device", "cpu", "--threads", "1"]
            command += ["--eval", "0", "--up-mbit", str(mbit * self.setting.share)]
            log = open(self.folder / f"h{i}.log", "w")
            self.processes.append(
                subprocess.Popen(self.inside(i, command), stdout=log, stderr=log)
            )
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        subprocess.run([self.args.lab, "down"], check=True, stdout=subprocess.DEVNULL)

    def inside(self, i, command):
        return ["ip", "netns", "exec", f"h{i}", self.args.shoal, *map(str, command)]

    def status(self, i):
        """What the node serves; by curl, since a start of `shoal status` costs tenths of a second of a core."""
        announced = list((self.folder / f"h{i}" / "local").glob("*.json"))
        if not announced:
            return None
        api = json.loads(announced[0].read_text())["api"]
        command = ["ip", "netns", "exec", f"h{i}", "curl", "-s", f"http://{api}/api/status"]
        told = subprocess.run(command, capture_output=True, text=True)
        return json.loads(told.stdout) if told.returncode == 0 else None

    def measure(self):
        """The nodes' last statuses, and each one's training speed, the median of what it showed in the measured rounds."""
        speeds = [[] for _ in self.processes]
        begun = time.monotonic()
        while True:
            time.sleep(1)
            statuses = [self.status(i) for i in range(self.setting.nodes)]
            for shown, status in zip(speeds, statuses):
                if status and status["round"] >= WARM:
                    shown.append(status["tokens_per_s"])
            last = WARM + MEASURED - 1
            if all(status and status["round"] >= last for status in statuses):
                return statuses, [statistics.median(shown) for shown in speeds]
            if time.monotonic() - begun > PATIENCE_S:
                sys.exit(f"{self.setting.name}: not done in {PATIENCE_S} s; logs are in {self.folder}")


def of_rounds(rounds):
    """Median seconds and mean bytes of the measured rounds; `rounds` are (round, at_s, bytes) in order."""
    kept = [row for row in rounds if WARM <= row[0] < WARM + MEASURED]
    seconds = [after[1] - before[1] for before, after in zip(kept, kept[1:])]
    return statistics.median(seconds), statistics.mean(row[2] for row in kept[1:])


def measured(statuses, setting):
    rounds = []
    for status in statuses:
        mine = [r for r in status["rounds"] if r["round"] >= WARM]
        odd = [r["round"] for r in mine if r["members"] != setting.nodes or r["attempt"] > 0]
        if odd:
            print(f"  rounds without everybody, or begun again: {odd}", file=sys.stderr)
        rounds.append(of_rounds([(r["round"], r["at_s"], r["bytes_sent"]) for r in mine]))
    seconds, sent = zip(*rounds)
    return statistics.median(seconds), statistics.mean(sent)


def simulated(args, setting, speeds, folder):
    file = folder / "scenario.toml"
    file.write_text(scenario(setting, speeds))
    subprocess.run([args.sim, "run", file, "--out", folder / "sim"], check=True, capture_output=True)
    with open(folder / "sim" / "rounds.csv") as rows:
        rounds = [
            (int(r["round"]), float(r["at_s"]), int(r["sent_bytes"])) for r in csv.DictReader(rows)
        ]
    return of_rounds(rounds)


HEAD = """| setting (Mbit/s) | delay, ms one way | parameters, codec | training, s | round, s: real | simulated | off | MB sent by a node: real | simulated | off |
|---|---|---|---|---|---|---|---|---|---|"""


def row(setting, speeds, real, sim):
    trained = setting.steps * BATCH * CONTEXT / min(speeds)
    off = lambda of: f"{100 * (sim[of] / real[of] - 1):+.1f} %"
    return (
        f"| {setting.name} | {setting.oneway_ms} | {setting.preset}, {setting.codec} | {trained:.2f} "
        f"| {real[0]:.2f} | {sim[0]:.2f} | {off(0)} "
        f"| {real[1] / 1e6:.3f} | {sim[1] / 1e6:.3f} | {off(1)} |"
    )


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parse.add_argument("--lab", required=True, type=pathlib.Path, help="script that makes the namespaces")
    parse.add_argument("--shoal", default="target/debug/shoal", type=pathlib.Path)
    parse.add_argument("--sim", default="target/release/shoal-sim", type=pathlib.Path)
    parse.add_argument("--out", type=pathlib.Path, help="write the table here as well")
    parse.add_argument("--keep", action="store_true", help="keep logs and scenarios")
    parse.add_argument("only", nargs="*")
    args = parse.parse_args()
    if not args.lab.exists():
        print(f"skipped: {args.lab} is not there; it makes the namespaces")
        return
    args.lab, args.shoal, args.sim = (p.resolve() for p in (args.lab, args.shoal, args.sim))
    print(HEAD, flush=True)
    rows = []
    for setting in SETTINGS:
        if args.only and setting.name not in args.only:
            continue
        folder = pathlib.Path(tempfile.mkdtemp(prefix="fidelity-"))
        with Real(args, setting, folder) as nodes:
            statuses, speeds = nodes.measure()
        (folder / "statuses.json").write_text(json.dumps(statuses))
        rows.append(row(setting, speeds, measured(statuses, setting), simulated(args, setting, speeds, folder)))
        print(rows[-1], flush=True)
        if args.keep:
            print(f"  kept: {folder}", file=sys.stderr)
        else:
            subprocess.run(["rm", "-r", folder], check=True)
    if args.out:
        text = args.out.read_text()
        table = "\n".join([HEAD, *rows])
        args.out.write_text(re.sub(r"\| setting.*\|\n", lambda _: table + "\n", text, flags=re.S))


if __name__ == "__main__":
    main()
