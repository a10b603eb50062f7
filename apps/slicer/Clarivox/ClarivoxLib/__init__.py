# SPDX-License-Identifier: Apache-2.0
"""What the module is made of: volumes on one side, a server on the other."""
