# SPDX-License-Identifier: Apache-2.0
"""The steps from one version of the ledger's tables to the next."""
