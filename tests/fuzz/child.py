# SPDX-License-Identifier: Apache-2.0
"""A limited process that reads one file after another and says how each went, one line of JSON for each path."""

from __future__ import annotations

import json
import resource
import sys
import traceback
import warnings
from pathlib import Path

MEMORY = 3 << 30
"""Address space in bytes: libraries take a third of it."""

CPU_S = 15
"""CPU seconds for each file."""


def outcome(path: Path) -> dict[str, str]:
    """How reading a file went: "read", "refused" with its code, or "finding" with the place in the code."""
    from clarivox.errors import ClarivoxError
    from clarivox.io import Unreadable, read_all

    codes = []
    try:
        for one in read_all(path, allow_uneven=True):
            codes.append(one.error.code if isinstance(one, Unreadable) else "")
    except ClarivoxError as error:
        return {"outcome": "refused", "details": error.code}
    except BaseException as error:  # noqa: BLE001  any other exception is what is looked for
        places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
        return {"outcome": "finding", "details": f"{type(error).__name__} at {' '.join(places[-4:])}"}
    refused = [code for code in codes if code]
    return {"outcome": "refused" if refused and len(refused) == len(codes) else "read", "details": " ".join(refused)}


def main() -> None:
    """Serve paths from standard input until it ends."""
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, resource.RLIM_INFINITY))
        print(json.dumps(outcome(Path(line.rstrip("\n")))), file=answers, flush=True)


if __name__ == "__main__":
    main()
