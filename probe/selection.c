// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "content.h"
#include "selection.h"

void selection_free(struct selection *sel)
{
	buffer_free(&sel->buffer);
}

void draw(uint32_t *items, uint64_t count, uint64_t pick, uint64_t seed)
{
	uint64_t state = seed;

	for (uint64_t i = 0; i < pick; i++) {
		uint64_t other = i + splitmix64(&state) % (count - i);
		uint32_t item = items[i];

		items[i] = items[other];
		items[other] = item;
	}
}

int selection_make(struct selection *sel, const struct request *req, uint64_t device_pages, struct reply *rep)
{
	uint64_t lo = arg_number(req, "lo", 0), hi = arg_number(req, "hi", 0), count = hi - lo + 1;
	uint64_t pick = arg_number(req, "pick", count);

	if (lo > hi || hi >= device_pages || hi > UINT32_MAX)
		return reply_fail(rep, 0, "lo=%llu hi=%llu: expected lo <= hi < %llu, the pages of the device",
				  (unsigned long long)lo, (unsigned long long)hi, (unsigned long long)device_pages);
	if (!pick || pick > count)
		return reply_fail(rep, 0, "pick=%llu: expected 1 to %llu", (unsigned long long)pick,
				  (unsigned long long)count);
	if (arg_given(req, "pick") != arg_given(req, "pick_seed"))
		return reply_fail(rep, 0, "pick and pick_seed go together");
	if (buffer_make(&sel->buffer, count, sizeof(uint32_t), rep))
		return -1;
	sel->page = sel->buffer.data;
	sel->count = (size_t)pick;
	for (uint64_t i = 0; i < count; i++)
		sel->page[i] = (uint32_t)(lo + i);
	if (arg_given(req, "pick"))
		draw(sel->page, count, pick, arg_number(req, "pick_seed", 0));
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

void selection_sort(struct selection *sel)
{
	qsort(sel->page, sel->count, sizeof(*sel->page), by_number);
}
