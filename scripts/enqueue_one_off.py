"""Hand one message or follow to the workers: `outreach send --enqueue`, whose options it takes.

python scripts/enqueue_one_off.py --key welcome-17 --to @ada --kind SEND_TWITTER_DM --text "Hello!"
"""

import sys

from outreach.cli import run

if __name__ == "__main__":
    sys.exit(run(["send", "--enqueue", *sys.argv[1:]]))
