"""The command line from a clone: `python run.py --sde vp --mode train`."""

import sys

from score_sde.command_line import main

if __name__ == "__main__":
    sys.exit(main())
