# SPDX-License-Identifier: Apache-2.0
"""What pydicom warns of becomes notes without values, and reaches neither the screen nor the log."""

import logging
import warnings

import pytest

from clarivox.io.dicom_warnings import LOGGERS, OTHER, Quiet


def test_warnings_become_notes_without_their_values() -> None:
    with Quiet() as quiet:
        warnings.warn("Invalid value for VR PN: 'SENTINEL^NAME'", stacklevel=1)
        warnings.warn("something else about SENTINEL", stacklevel=1)
        warnings.warn("something else about SENTINEL", stacklevel=1)
    assert quiet.notes == ("a value breaks the rules of its type", OTHER)


def test_the_log_stays_silent_inside_and_speaks_again_after(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    with Quiet(), Quiet():
        for name in LOGGERS:
            logging.getLogger(name).error("SENTINEL")
    assert caplog.text == ""
    logger.warning("after")
    assert "after" in caplog.text


def test_warnings_outside_are_as_before() -> None:
    with Quiet():
        pass
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)
