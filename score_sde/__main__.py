"""Run the program by `python -m score_sde`."""

import sys

if __name__ == "__main__":  # not in the processes that `certify` spawns, which have this path already
    sys.path.append(sys.path.pop(0))  # the current folder comes last: it may hold another project's models.py

    from score_sde.command_line import main

    sys.exit(main())
