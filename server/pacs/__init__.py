# SPDX-License-Identifier: Apache-2.0
"""The way to a PACS and back."""
