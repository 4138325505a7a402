/* SPDX-License-Identifier: Apache-2.0 */
/* Pages as the heap of a program has them, for compressors to find in them what they find in memory. */
#ifndef PROBE_HEAP_H
#define PROBE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* Fills a page; seed is the program's, whose heap lies where it lies in all pages, and state is the page's own. */
void heap_fill(uint64_t seed, uint64_t state, unsigned char *out, size_t bytes);

#endif
