"""`python -m outreach.cli.skewed SECONDS worker ...`: the command line on a machine whose clock is wrong by so many seconds."""

import sys
from datetime import datetime, timedelta, tzinfo

from outreach import clock
from outreach.cli import run


def main(words: list[str]) -> int:
    """Run the command line with a wrong clock."""
    wrong = timedelta(seconds=float(words[0]))

    class _Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + wrong  # noqa: TID251  the real time, made wrong

    vars(clock)["datetime"] = _Skewed
    return run(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
