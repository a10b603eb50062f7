# SPDX-License-Identifier: Apache-2.0
"""Networks: one family a file. Bundles name them by `_target_`."""
