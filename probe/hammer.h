/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that many threads read, write and free at once, each of which is known to hold what was written last. */
#ifndef PROBE_HAMMER_H
#define PROBE_HAMMER_H

#include <stdatomic.h>

#include "area.h"

/* What is hammered: pages of an open device or file, or an area of memory. */
struct target {
	int fd;
	bool is_block;
	struct area *area;
	size_t piece; /* bytes of one read or write */
};
/* 0 or an errno. */
int target_read(const struct target *target, uint64_t page, void *data);
int target_write(const struct target *target, uint64_t page, void *data);
int target_free(const struct target *target, uint64_t page);
/* Asks the kernel to take memory away; nothing for a device. */
int target_page_out(const struct target *target, uint64_t page, size_t pages);

/* A page is one thread's at a time. Its seed is the first one plus its generation. */
struct hammered {
	atomic_bool taken;
	enum { HOLDS_PAGE, HOLDS_NOTHING, HOLDS_UNKNOWN } holds;
	uint32_t generation;
};

/* Pages that clashing threads write without taking them: each holds one of the pages written, whole. */
enum { CLASH_PAGES = 8 };

#endif
