// SPDX-License-Identifier: Apache-2.0
// Stands for codecs of zarr, a format that is never fetched here.
export default class None {}
