// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "selection.h"
#include "slots.h"

enum {
	/* "page_indexes=" and two numbers of at most 10 digits. */
	ITEM_BYTES = 40,
};

struct slot {
	uint64_t slot;
	uint32_t page;
};

/*
 * Which swap type a zram device has. The kernel hands out the lowest free number and /proc/swaps lists them in that
 * order, so the line tells, unless a device in between was swapped off.
 */
int zram_swap_type(uint64_t zram, unsigned int *type, unsigned int *active, struct reply *rep)
{
	char line[512], name[48];
	bool found = false;
	FILE *file = fopen("/proc/swaps", "re");

	if (!file)
		return reply_fail(rep, errno, "open /proc/swaps");
	snprintf(name, sizeof(name), "/zram%llu", (unsigned long long)zram);
	*active = 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		size_t length = strcspn(line, " \t"), tail = strlen(name);

		if (length >= tail && !strncmp(line + length - tail, name, tail)) {
			*type = *active;
			found = true;
		}
		++*active;
	}
	fclose(file);
	if (!found)
		return reply_fail(rep, 0, "zram%llu is no active swap device", (unsigned long long)zram);
	return 0;
}

/* Pages that lie in a RAM slot of this zram and can be written back. */
int slot_work_find(struct slot_work *work, struct area *area, uint64_t zram, struct reply *rep)
{
	unsigned int type = 0, active = 0;
	const uint64_t *map;

	work->area = area;
	if (geteuid())
		return reply_fail(rep, EPERM, "only root is shown the slots");
	if (zram_swap_type(zram, &type, &active, rep) || area_pagemap(area, &work->map_buffer, rep) ||
	    buffer_make(&work->page_buffer, area->pages, sizeof(uint32_t), rep))
		return -1;
	work->map = map = work->map_buffer.data;
	work->page = work->page_buffer.data;
	for (uint64_t i = 0; i < area->pages; i++) {
		uint64_t entry = map[i];

		/* A page without object is never written back; one of zeros does not even get to zram since 6.12. */
		if (!(entry & PAGEMAP_SWAPPED) || area_label(area)[i] == LABEL_WRITTEN_BACK ||
		    !content_has_object(&area->mix, area->seed, i))
			continue;
		if (active > 1 && pagemap_type(entry) >= active)
			return reply_fail(rep, 0,
					  "swap type %u, but %u swap devices: cannot tell which one is zram%llu",
					  pagemap_type(entry), active, (unsigned long long)zram);
		if (active == 1 || pagemap_type(entry) == type)
			work->page[work->count++] = (uint32_t)i;
	}
	return 0;
}

int slot_work_choose(struct slot_work *work, const struct request *req, struct reply *rep)
{
	uint64_t pick = arg_number(req, "pick", work->count);

	if (arg_given(req, "pick") && !arg_given(req, "pick_seed"))
		return reply_fail(rep, 0, "pick: needs pick_seed");
	if (!pick || pick > work->count)
		return reply_fail(rep, 0, "pick=%llu: %llu pages of %s can be written back", (unsigned long long)pick,
				  (unsigned long long)work->count, work->area->name);
	draw(work->page, work->count, pick, arg_number(req, "pick_seed", 0));
	work->count = (size_t)pick;
	return 0;
}

static int by_slot(const void *a, const void *b)
{
	const struct slot *left = a, *right = b;

	return (left->slot > right->slot) - (left->slot < right->slot);
}

/* Puts the chosen pages into the order of their slots. */
int slot_work_sort(struct slot_work *work, struct reply *rep)
{
	SCOPED_BUFFER sorted = { 0 };
	struct slot *slot;

	if (buffer_make(&sorted, work->count, sizeof(*slot), rep))
		return -1;
	slot = sorted.data;
	for (uint64_t i = 0; i < work->count; i++)
		slot[i] = (struct slot){ pagemap_slot(work->map[work->page[i]]), work->page[i] };
	qsort(slot, work->count, sizeof(*slot), by_slot);
	for (uint64_t i = 0; i < work->count; i++)
		work->page[i] = slot[i].page;
	return 0;
}

/* Fills one call with as many pages as it takes, neighbouring slots as a range; returns how many. */
uint64_t slot_work_compose(const struct slot_work *work, uint64_t from, char call[CALL_BYTES + 1])
{
	uint64_t i = from, end = work->count;
	size_t used = 0;

	if (work->most_pages && work->most_pages < end - from)
		end = from + work->most_pages;
	while (i < end && used + ITEM_BYTES < CALL_BYTES) {
		unsigned long long lo = pagemap_slot(work->map[work->page[i]]), run = 1;
		const char *blank = used ? " " : "";

		if (work->grammar == GRAMMAR_SINGLE) {
			snprintf(call, CALL_BYTES, "page_index=%llu", lo);
			return 1;
		}
		while (i + run < end && pagemap_slot(work->map[work->page[i + run]]) == lo + run)
			run++;
		if (run > 1)
			used += (size_t)snprintf(call + used, CALL_BYTES - used, "%spage_indexes=%llu-%llu", blank, lo,
						 lo + run - 1);
		else
			used += (size_t)snprintf(call + used, CALL_BYTES - used, "%spage_index=%llu", blank, lo);
		i += run;
	}
	return i - from;
}

int slot_work_write_one(struct slot_work *work, int fd, uint64_t *done)
{
	char call[CALL_BYTES + 1];
	uint64_t pages = slot_work_compose(work, *done, call);

	if (write(fd, call, strlen(call)) < 0) {
		/* Kernels before 6.16 take a single page_index= and call everything else invalid. */
		if (errno != EINVAL || work->grammar != GRAMMAR_AUTO)
			return errno;
		work->grammar = GRAMMAR_SINGLE;
		return 0;
	}
	if (work->grammar == GRAMMAR_AUTO && pages > 1)
		work->grammar = GRAMMAR_SEVERAL;
	work->calls++;
	for (uint64_t i = 0; i < pages; i++)
		area_label(work->area)[work->page[*done + i]] = LABEL_WRITTEN_BACK;
	*done += pages;
	return 0;
}

int slot_work_write(struct slot_work *work, int fd, uint64_t *done)
{
	int error = 0;

	while (!error && *done < work->count)
		error = slot_work_write_one(work, fd, done);
	return error;
}

void slot_work_free(struct slot_work *work)
{
	buffer_free(&work->page_buffer);
	buffer_free(&work->map_buffer);
}
