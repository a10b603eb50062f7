# SPDX-License-Identifier: Apache-2.0
"""Every error that clarivox raises on purpose.

    ClarivoxError
    ├── InputError                 the caller can mend it
    │   ├── FormatError            not a file that we read
    │   ├── TruncatedError         the file ends too early
    │   ├── DecodeError            the pixels cannot be decoded
    │   ├── GeometryError          the slices do not make one grid
    │   ├── RescaleError           stored values have no usable scale
    │   ├── SeriesError            several series, or none, where one is wanted
    │   ├── LimitError             larger than the limits allow
    │   ├── OptionError            an option is unknown or out of range
    │   ├── ModalityError          the bundle does not declare this kind of image
    │   ├── RegionError            a region is empty, too small, or overlaps another
    │   └── OutputError            the result cannot be written there, or so
    ├── BundleError                a bundle's configuration or weights are wrong
    │   └── DigestError            a file differs from the bundle's manifest
    ├── CapacityError              too large for this device or disk
    ├── TrainingError              a training cannot go on
    ├── ServiceError               the server cannot, or may not, do it
    │   ├── NotFoundError          there is no such job, image, session or file
    │   ├── ConflictError          it does not fit the state that things are in
    │   ├── AccessError            who asks is not known, or may not
    │   └── BusyError              not now; ask again later
    └── CancelledError             the caller asked to stop

Each error carries a `code`: a short stable name for programs and for the HTTP answer. A class has a default; the
place that raises may name a narrower one, from the table in docs/errors.md.
"""

from __future__ import annotations


class ClarivoxError(Exception):
    """An error with a stable code and a message that says what to do.

    >>> GeometryError("slices must be evenly spaced", code="uneven_spacing").code
    'uneven_spacing'
    >>> FormatError("not an image").code
    'unsupported_format'
    """

    code = "clarivox_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(ClarivoxError):
    """The caller can mend it."""

    code = "bad_input"


class FormatError(InputError):
    """Not a file that we read."""

    code = "unsupported_format"


class TruncatedError(InputError):
    """The file ends too early."""

    code = "truncated"


class DecodeError(InputError):
    """The pixels cannot be decoded."""

    code = "cannot_decode"


class GeometryError(InputError):
    """The slices do not make one grid, or the grid is not usable."""

    code = "bad_geometry"


class RescaleError(InputError):
    """Stored values have no usable scale."""

    code = "bad_rescale"


class SeriesError(InputError):
    """Several series, or none, where one is wanted."""

    code = "several_series"


class LimitError(InputError):
    """Larger than the limits allow."""

    code = "too_large"


class OptionError(InputError):
    """An option is unknown or out of range."""

    code = "bad_option"


class ModalityError(InputError):
    """The bundle does not declare this kind of image."""

    code = "wrong_modality"


class RegionError(InputError):
    """A region is empty, too small, or overlaps another."""

    code = "bad_region"


class OutputError(InputError):
    """The result cannot be written there, or not in that form."""

    code = "cannot_write"


class BundleError(ClarivoxError):
    """A bundle's configuration or weights are wrong."""

    code = "bad_bundle"


class DigestError(BundleError):
    """A file differs from the bundle's manifest."""

    code = "digest_mismatch"


class CapacityError(ClarivoxError):
    """Too large for this device or disk."""

    code = "no_capacity"


class TrainingError(ClarivoxError):
    """A training cannot go on; what was good is kept."""

    code = "training_stopped"


class ServiceError(ClarivoxError):
    """The server cannot, or may not, do it."""

    code = "service_error"


class NotFoundError(ServiceError):
    """There is no such job, image, session or file."""

    code = "no_such_thing"


class ConflictError(ServiceError):
    """It does not fit the state that things are in."""

    code = "conflict"


class AccessError(ServiceError):
    """Who asks is not known, or may not."""

    code = "no_access"


class BusyError(ServiceError):
    """Not now; ask again later.

    Attributes:
        retry_after_s: when to ask again.
    """

    code = "busy"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float = 5.0) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class CancelledError(ClarivoxError):
    """The caller asked to stop."""

    code = "cancelled"
