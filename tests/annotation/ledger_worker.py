"""A process of its own for the ledger's tests: ledger_worker.py MODE PATH FIRST LAST."""

import os
import random
import sys
import time

from ledger_records import key, record

from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits

CAP = 5.0


def main() -> None:
    """Runs one of the modes."""
    mode, path, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    names = [key(number) for number in range(first, last)]
    with Ledger(path) as ledger:
        if mode == "lease":  # holds leases and says so
            say(" ".join(ledger.reserve([Claim(name, cost_usd=0.1) for name in names]).granted))
            time.sleep(60)
        elif mode == "store":  # stores one after the other, and says when each is safe
            for name in names:
                if ledger.reserve([Claim(name)]).granted:
                    ledger.store([record(name)])
                    say(name)
        elif mode == "spend":  # spends up to the cap, in groups, with others
            draw = random.Random(os.getpid())
            draw.shuffle(names)
            say("ready")
            sys.stdin.readline()
            limits, last_try = Limits(max_cost_usd=CAP), time.monotonic() + 20
            while time.monotonic() < last_try:
                group = draw.sample(names, 6)
                result = ledger.reserve([Claim(name, cost_usd=0.1) for name in group], limits)
                for name in result.granted:
                    say(name)
                time.sleep(0.002)  # the request is in flight
                ledger.store([record(name, cost_usd=draw.uniform(0.02, 0.1)) for name in result.granted])
                if result.exhausted:
                    break


def say(text: str) -> None:
    """A line that is out when this returns."""
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main()
