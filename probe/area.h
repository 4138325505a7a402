/* SPDX-License-Identifier: Apache-2.0 */
/* Anonymous memory that the probe fills, has swapped out, and touches again; known by name while it serves. */
#ifndef PROBE_AREA_H
#define PROBE_AREA_H

#include "content.h"
#include "system.h"

enum { LABEL_RAM, LABEL_WRITTEN_BACK };

struct area {
	char name[32];
	unsigned char *base;
	size_t pages;
	uint64_t seed;
	struct mix mix;
	/* One byte a page: where the probe last put it. */
	struct buffer labels;
};

static inline uint8_t *area_label(const struct area *area)
{
	return area->labels.data;
}

/* The area that the key name= names; NULL after a failure. */
struct area *area_named(const struct request *req, struct reply *rep);
struct area *area_by_name(const char *name, struct reply *rep);

/* /proc/self/pagemap, Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
static inline unsigned int pagemap_type(uint64_t entry)
{
	return entry & 0x1f;
}
/* On a zram swap device this is the index of zram's slot. */
static inline uint64_t pagemap_slot(uint64_t entry)
{
	return (entry >> 5) & ((UINT64_C(1) << 50) - 1);
}
/* One entry a page. */
int area_pagemap(const struct area *area, struct buffer *map, struct reply *rep);
uint64_t count_swapped(const uint64_t *map, uint64_t pages);

#endif
