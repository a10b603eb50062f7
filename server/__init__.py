# SPDX-License-Identifier: Apache-2.0
"""The server: HTTP and jobs only. Everything it enhances goes through `clarivox.enhance`."""
