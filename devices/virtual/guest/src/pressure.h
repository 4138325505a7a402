/* SPDX-License-Identifier: Apache-2.0 */
/* What lmkd reads before it decides: meminfo, zone watermarks, reclaim counters, pressure. */
#ifndef GUEST_PRESSURE_H
#define GUEST_PRESSURE_H

#include "guest.h"

/* Fields of meminfo, of which the first ones are those of killinfo, in its order. */
enum { MEM_FREE = 0, SWAP_TOTAL = 6, SWAP_FREE = 7, ACTIVE_FILE = 10, INACTIVE_FILE = 11, CMA_FREE = 18, FIELDS = 19 };

enum watermark { BELOW_MIN, BELOW_LOW, BELOW_HIGH, ABOVE_HIGH };
enum reclaim { NO_RECLAIM, KSWAPD_RECLAIM, DIRECT_RECLAIM };

struct memory {
	long long kib[FIELDS];
	long long watermark_kib[3]; /* min, low, high: of all zones */
	long long refaults, scanned_by_kswapd, scanned_directly;
};

void read_watermarks(struct memory *memory);
void read_memory(struct memory *memory);
enum watermark lowest_watermark(const struct memory *memory);
long long free_swap_kib(const struct memory *memory);
/* ",avg10" of the some or full line of a file of /proc/pressure. */
void add_pressure(struct text *text, const char *path, const char *line);

#endif
