// SPDX-License-Identifier: Apache-2.0
/* Sends an area to swap, and finds out where it went. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area.h"
#include "syscalls.h"

enum {
	TRIES_DEFAULT = 20,
	PAUSE_MS = 10,
};

int area_pagemap(const struct area *area, struct buffer *map, struct reply *rep)
{
	SCOPED_FD fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t bytes = area->pages * 8;
	off_t at = (off_t)((uintptr_t)area->base / page_bytes() * 8);
	ssize_t n;

	if (fd < 0)
		return reply_fail(rep, errno, "open /proc/self/pagemap");
	if (!map->data && buffer_make(map, bytes, 1, rep))
		return -1;
	for (size_t done = 0; done < bytes; done += (size_t)n) {
		n = pread(fd, (char *)map->data + done, bytes - done, at + (off_t)done);
		if (n <= 0)
			return reply_fail(rep, n ? errno : EIO, "read /proc/self/pagemap");
	}
	return 0;
}

uint64_t count_swapped(const uint64_t *map, uint64_t pages)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < pages; i++)
		count += !!(map[i] & PAGEMAP_SWAPPED);
	return count;
}

/*
 * A page that was faulted in lately waits in a list of the CPU it was faulted in on, where reclaim does not find it.
 * MADV_PAGEOUT drains the list of its own CPU only, so every try is made on another one of those allowed.
 */
static void move_to_cpu(cpu_set_t *allowed, uint64_t turn)
{
	int skip = (int)(turn % (uint64_t)CPU_COUNT(allowed)), cpu = 0;
	cpu_set_t one;

	while (!CPU_ISSET(cpu, allowed) || skip--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	/* Refused when that CPU went away just now: the try is then made here. */
	sched_setaffinity(0, sizeof(one), &one);
}

/* One try; how many pages of the area are in swap after it. */
static int page_out(const struct area *area, struct buffer *map, uint64_t *swapped, struct reply *rep)
{
	if (madvise(area->base, area->pages * page_bytes(), MADV_PAGEOUT))
		return reply_fail(rep, errno, "MADV_PAGEOUT");
	if (area_pagemap(area, map, rep))
		return -1;
	*swapped = count_swapped(map->data, area->pages);
	return 0;
}

/* madvise() returns 0 whether or not pages left, so the page table is asked. */
int cmd_pageout(const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);
	uint64_t most = arg_number(req, "tries", TRIES_DEFAULT), tries = 0, swapped = 0;
	uint64_t start = now_ns(CLOCK_MONOTONIC);
	SCOPED_BUFFER map = { 0 };
	cpu_set_t allowed;
	int error = 0;

	if (!area)
		return -1;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return reply_fail(rep, errno, "sched_getaffinity");
	while (!error && tries < most && swapped < area->pages) {
		if (tries)
			sleep_ms(PAUSE_MS);
		move_to_cpu(&allowed, tries++);
		error = page_out(area, &map, &swapped, rep);
	}
	sched_setaffinity(0, sizeof(allowed), &allowed);
	if (error)
		return -1;
	reply_u64(rep, "pages", area->pages);
	reply_u64(rep, "swapped", swapped);
	reply_u64(rep, "tries", tries);
	reply_u64(rep, "wall_ns", now_ns(CLOCK_MONOTONIC) - start);
	return 0;
}

/* Turns a map of pagemap entries into slots, in place. */
static void report_slots(uint64_t *map, uint64_t pages, struct reply *rep)
{
	uint64_t lo = UINT64_MAX, hi = 0, swapped = 0;
	uint32_t types = 0;

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t slot = pagemap_slot(map[i]);

		if (!(map[i] & PAGEMAP_SWAPPED)) {
			map[i] = UINT64_MAX;
			continue;
		}
		types |= 1u << pagemap_type(map[i]);
		lo = slot < lo ? slot : lo;
		hi = slot > hi ? slot : hi;
		swapped++;
		map[i] = slot;
	}
	reply_u64(rep, "pages", pages);
	reply_u64(rep, "swapped", swapped);
	reply_open(rep, "swap_types", '[');
	for (unsigned int type = 0; type < 32; type++)
		if (types & (1u << type))
			reply_u64(rep, NULL, type);
	reply_close(rep, '[');
	if (swapped) {
		reply_u64(rep, "lo", lo);
		reply_u64(rep, "hi", hi);
	} else {
		reply_null(rep, "lo");
		reply_null(rep, "hi");
	}
}

int cmd_slots(const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);
	SCOPED_BUFFER map = { 0 };

	if (!area)
		return -1;
	/* Others see every slot as 0. */
	if (geteuid())
		return reply_fail(rep, EPERM, "only root is shown the slots");
	if (area_pagemap(area, &map, rep))
		return -1;
	report_slots(map.data, area->pages, rep);
	if (arg_given(req, "out"))
		return write_out(arg_text(req, "out", ""), map.data, area->pages * 8, rep);
	return 0;
}
