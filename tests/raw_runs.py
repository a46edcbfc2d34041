"""The stored runs from their files alone, for tests that nothing of flexlib may help."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def stored() -> list[tuple[Path, dict, str]]:
    """Folder, configuration and label of every run."""
    found = []
    for path in sorted(ROOT.glob("data/runs/*/config.json")):
        config = json.loads(path.read_text())
        # Three runs whose answers are those of other tasks have the name that this had at first.
        exchanged = config.get("training", {}).get("answers") == "format-only"
        arm = "shuffled" if exchanged else config["arm"]
        label = " ".join(filter(None, (arm, config.get("variant"))))
        found.append((path.parent, config, label))
    return found
