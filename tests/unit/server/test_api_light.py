# SPDX-License-Identifier: Apache-2.0
"""The process that answers HTTP stays small: nothing that computes is imported into it."""

import json
import subprocess
import sys

HEAVY = {"torch", "monai", "numpy", "pydicom", "nibabel", "SimpleITK", "itk", "dicognito"}
CODE = """
import json, sys
from clarivox.server import conversion, convert, fleet
from clarivox.server.main import routers
from clarivox.server.settings import Settings
list(routers(Settings()))
print(json.dumps(sorted(sys.modules)))
"""


def test_routes_and_supervisor_import_nothing_that_computes() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True).stdout
    assert not set(json.loads(found)) & HEAVY
