/* SPDX-License-Identifier: Apache-2.0 */
/* The timing of one page's first read, and what is kept of it. */
#ifndef PROBE_TOUCH_H
#define PROBE_TOUCH_H

#include "area.h"
#include "records.h"

static inline void compiler_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

/*
 * The measurement. Nothing but the read of one word stands between the clocks, and nothing that this function writes
 * may fault: samples lie in locked buffers.
 */
static inline void touch_page(const unsigned char *base, size_t page_size, uint32_t page, struct sample *sample)
{
	const volatile uint64_t *word = (const void *)(base + page * page_size);
	uint64_t start = now_ns(CLOCK_MONOTONIC);

	compiler_barrier();
	(void)*word;
	compiler_barrier();
	*sample = (struct sample){ .t_ns = start, .ns = now_ns(CLOCK_MONOTONIC) - start, .page = page };
}

#endif
