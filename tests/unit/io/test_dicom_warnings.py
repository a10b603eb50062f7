# SPDX-License-Identifier: Apache-2.0
"""What pydicom warns of becomes notes without values, and reaches neither the screen nor the log."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

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


def test_threads_that_overlap_keep_their_notes_apart_and_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    both_inside, one_left = threading.Barrier(2), threading.Event()
    notes: dict[str, tuple[str, ...]] = {}

    def first() -> None:
        with Quiet() as quiet:
            both_inside.wait(60)
            warnings.warn("Invalid value", stacklevel=1)
        notes["first"] = quiet.notes
        one_left.set()

    def second() -> None:
        with Quiet() as quiet:
            both_inside.wait(60)
            one_left.wait(60)
            warnings.warn("unknown character set", stacklevel=1)
        notes["second"] = quiet.notes

    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert notes == {
        "first": ("a value breaks the rules of its type",),
        "second": ("text uses an unknown or wrong character set",),
    }
    assert warnings.filters == before


def test_a_thread_that_does_not_read_is_warned_as_before(recwarn: pytest.WarningsRecorder) -> None:
    def other() -> None:
        warnings.warn("elsewhere", stacklevel=1)

    with Quiet() as quiet:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
    assert quiet.notes == ()
    assert [str(one.message) for one in recwarn] == ["elsewhere"]


def test_a_thread_that_joins_is_collected_too(recwarn: pytest.WarningsRecorder) -> None:
    with Quiet() as quiet, ThreadPoolExecutor(1, initializer=quiet.join) as pool:
        pool.submit(warnings.warn, "Invalid value for VR PN: 'SENTINEL^NAME'").result()
        pool.submit(logging.getLogger("pydicom").error, "SENTINEL").result()
    assert quiet.notes == ("a value breaks the rules of its type",)
    assert not recwarn.list
