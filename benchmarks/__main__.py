"""The door: pins this process, then runs the command."""

import sys

from benchmarks.pin import pin

if __name__ == "__main__":
    pin()
    from benchmarks.command import main  # imports NumPy, which reads the number of threads

    sys.exit(main(sys.argv[1:]))
