"""How tests run the suite of faults: by its command, as anybody would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def chaos(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-m", "outreach", "chaos", "--json", "--data-dir", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.stdout, run.stderr[-3000:]
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return run.returncode, found
