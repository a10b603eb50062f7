# SPDX-License-Identifier: Apache-2.0
"""The companion page. `make web` builds it into dist/, from which the server serves it."""
