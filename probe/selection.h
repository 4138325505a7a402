/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages a command works on, and in which order. */
#ifndef PROBE_SELECTION_H
#define PROBE_SELECTION_H

#include "system.h"

struct selection {
	struct buffer buffer;
	uint32_t *page;
	size_t count;
};
void selection_free(struct selection *sel);
#define SCOPED_SELECTION __attribute__((cleanup(selection_free))) struct selection

/* Moves pick items, drawn by seed, to the front in the order drawn. README.md states how, for others to repeat. */
void draw(uint32_t *items, uint64_t count, uint64_t pick, uint64_t seed);
/* From the keys lo, hi, pick and pick_seed of a request, for a device of so many pages. */
int selection_make(struct selection *sel, const struct request *req, uint64_t device_pages, struct reply *rep);
/* From the order in which they were drawn to their order on the device. */
void selection_sort(struct selection *sel);

#endif
