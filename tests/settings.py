# SPDX-License-Identifier: Apache-2.0
"""Print every setting of the server as the table of docs/server.md: `python -m tests.settings`."""

from clarivox.cli.settings import as_table
from clarivox.server.settings import Settings

if __name__ == "__main__":
    print(as_table(Settings))
