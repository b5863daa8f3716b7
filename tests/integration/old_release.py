"""An older release, in a process of its own: this one's code from before unfollowing existed, on the same database.

`make_old_release` copies the package and takes the action kind out of it; `run_old_release` runs the engine of the copy.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: What the older release has not got: the action, its echo, and the sweep's pair.
_LACKS = {
    "engine/kinds.py": '    UNFOLLOW_ON_TWITTER = "UNFOLLOW_ON_TWITTER"\n',
    "compliance/packs.py": "        ActionKind.UNFOLLOW_ON_TWITTER: Automation.PERMITTED_ACCOUNT,\n",
    "models/ticks.py": "('twitter', 'UNFOLLOW_ON_TWITTER'), ",
    "providers/base.py": '    WE_UNFOLLOWED = "we_unfollowed"\n',
    "providers/twitter/webhooks.py": ", we_did=InboundKind.WE_UNFOLLOWED",
    "runtime/digest.py": "        InboundKind.WE_UNFOLLOWED: _echo,\n",
    "runtime/echoes.py": "    InboundKind.WE_UNFOLLOWED.value: ActionKind.UNFOLLOW_ON_TWITTER,\n",
}
_CHANNEL = "    ActionKind.UNFOLLOW_ON_TWITTER: Channel.TWITTER,\n"


def make_old_release(folder: Path) -> Path:
    """A folder to run Python from, whose `outreach` knows one action kind less, and not its echo."""
    shutil.copytree(ROOT / "outreach", folder / "outreach", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in [*_LACKS.items(), ("engine/kinds.py", _CHANNEL)]:
        path = folder / "outreach" / name
        whole = path.read_text(encoding="utf-8")
        assert whole.count(text) == 1, f"{name} has changed: say anew what an older release lacks"
        path.write_text(whole.replace(text, ""), encoding="utf-8")
    return folder


def run_old_release(release: Path, **task: Any) -> dict[str, Any]:
    """What its engine reports; `task` as `_work` takes it."""
    code = "import sys, tests.integration.old_release as old; old.main(sys.stdin.read())"
    environment = {**os.environ, "PYTHONPATH": f"{release}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(task),
        cwd=release,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


# --- in the other process --------------------------------------------------------------------------------------------


def main(task: str) -> None:
    """Do the task and print the report as one line of JSON."""
    import outreach
    from outreach.engine.kinds import ActionKind

    assert Path(outreach.__file__).parents[1] == Path.cwd(), "this is not the older release"
    assert "UNFOLLOW_ON_TWITTER" not in ActionKind.__members__
    sys.stdout.write(json.dumps(_work(**json.loads(task))) + "\n")


def _work(
    *,
    url: str,
    folder: str,
    at: str,
    sequence: str = "",
    text: str = "",
    person_ids: Sequence[int] = (),
    minutes: int = 0,
    step: int = 60,
) -> dict[str, Any]:
    from outreach.models.base import Database
    from outreach.models.migrate import migrate, require_schema
    from tests.integration.law_support import open_house

    db = Database(url, pool_size=4)
    note, now = require_schema(db), datetime.fromisoformat(at)
    applied = list(migrate(db, now))
    Path(folder).mkdir()
    house = open_house(db, Path(folder))
    house.clock.instant = now
    looks: Counter[int] = Counter()

    def count(hint: Any) -> list[Any]:
        looks.update([hint.id] if hint.actor == "advance_lead" and hint.after == 0 else [])
        return [hint]

    house.deliver = count
    leads = []
    if text:
        house.publish(text)
        leads = house.enroll(sequence, person_ids)
    house.pass_time(timedelta(minutes=minutes), step=timedelta(minutes=step))
    db.close()
    return {
        "note": note,
        "applied": applied,
        "leads": leads,
        "looks": dict(looks),
        "now": house.clock.now().isoformat(),
    }
