"""Runs a program that lives no longer than the one that started it.

    python3 tether.py PARENT_PID PROGRAM [ARGUMENT…]

The kernel kills the program (SIGKILL) the moment its parent ends, however that comes about. The wish is
made before the program starts and survives the exec; the look at the parent afterwards covers a parent
that ended just before the wish was made. `setpriv --pdeathsig` would do the first half only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, program = int(argv[1]), argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f'tether: prctl: {os.strerror(ctypes.get_errno())}')
    if os.getppid() != parent:
        sys.exit('tether: the parent is gone')
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f'tether: {program[0]}: {error.strerror}')


main(sys.argv)
