"""For which strengths the released penalty matters at all: along plain LoRA's training of a profile, the
regime that Adam puts every weight of the adapter in (flexlib.analysis.pressure).

    python benchmarks/pressure.py [--profile nano] [--base-model DIR] [--data-dir DIR] [--out FILE]

One training, with a seed that no stored run has; about two minutes for nano.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from flexlib import config, disk, formats, paths
from flexlib.analysis import pressure
from flexlib.runs.machine import Machine

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--base-model", type=Path, metavar="DIR")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    wanted = config.load(args.profile, "lora", SEED)
    with tempfile.TemporaryDirectory() as work:
        machine = Machine(work_dir=Path(work), base_model=args.base_model, data_dir=args.data_dir)
        rows = pressure.measure(wanted, machine)
    for row in rows:
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    out = args.out or paths.MEASURED / f"pressure-{args.profile}.csv"
    disk.write_atomically(out, formats.to_csv(pressure.FIELDS, rows))


if __name__ == "__main__":
    main()
