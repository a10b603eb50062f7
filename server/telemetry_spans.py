# SPDX-License-Identifier: Apache-2.0
"""What is taken out of a span before it leaves. Imported only where traces are on."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from clarivox.server.telemetry import UNSAID


class Blanks(SpanProcessor):
    """Blanks the attributes that could name a patient, when a span begins."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Blank them."""
        held = span.attributes or {}
        for name in UNSAID:
            if name in held:
                span.set_attribute(name, "")
