"""How a program of the workflow ends by a signal: as by Ctrl-C, with everything put away and one line."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDED_BY: list[int] = []  # the signals that this process was sent


@contextmanager
def ending(program: str) -> Iterator[None]:
    """Let every signal that ends this process unwind it, print one line, and exit with 128 + the signal's number.

    A signal that the caller ignores, as under nohup, stays ignored.
    """
    ENDED_BY.clear()

    def end(number: int, _: object) -> None:
        ENDED_BY.append(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        yield
    except BaseException:  # libraries turn it into an exit or into errors of theirs, such as a kernel that died
        if not ENDED_BY:
            raise
        logging.getLogger("asyncio").disabled = True  # what tasks that were cut off would still say on the way out
        print(f"{program}: ended by {signal.Signals(ENDED_BY[0]).name}", file=sys.stderr, flush=True)
        raise SystemExit(128 + ENDED_BY[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
