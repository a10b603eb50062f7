# SPDX-License-Identifier: Apache-2.0
"""What turns the prebuilt OHIF into a viewer of this server: its configuration and our panel, no fork."""
