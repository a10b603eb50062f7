# SPDX-License-Identifier: Apache-2.0
"""The server's client as clarivox ships it, copied by `make slicer`; a test compares the files."""
