"""Run the program by `python -m score_sde`."""

import sys

sys.path.append(sys.path.pop(0))  # the current folder comes last: it may hold another project's models.py

from score_sde.command_line import main

if __name__ == "__main__":
    sys.exit(main())
