"""The door: pins this process if anything is to be timed, then runs the command."""

import sys

from benchmarks.pin import pin

if __name__ == "__main__":
    if "--check" not in sys.argv:  # nothing is timed: any core will do
        pin()
    from benchmarks.command import main  # imports NumPy, which reads the number of threads

    sys.exit(main(sys.argv[1:]))
