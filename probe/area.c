// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "area.h"

enum {
	AREAS = 64,
	/* Left for everybody else when an area is made. */
	SPARE_KIB = 64 * 1024,
};

static struct area areas[AREAS];

static struct area *find(const char *name)
{
	for (int i = 0; i < AREAS; i++)
		if (!strcmp(areas[i].name, name))
			return &areas[i];
	return NULL;
}

struct area *area_named(const struct request *req, struct reply *rep)
{
	return area_by_name(arg_text(req, "name", ""), rep);
}

struct area *area_by_name(const char *name, struct reply *rep)
{
	struct area *area = *name ? find(name) : NULL;

	if (!area)
		reply_fail(rep, 0, "name=%s: there is no such area", name);
	return area;
}

/* MemAvailable and SwapFree together, in KiB; 0 with errno if the kernel does not say. */
static uint64_t memory_left_kib(void)
{
	unsigned long long value, sum = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu", &value) == 1 || sscanf(line, "SwapFree: %llu", &value) == 1)
			sum += value;
	fclose(file);
	return sum;
}

/* Memory without huge pages: one fault then brings in one page (large folios swap in as a whole). */
static int map_area(struct area *area, struct reply *rep)
{
	size_t bytes = area->pages * page_bytes();
	void *base;

	if (buffer_make(&area->labels, area->pages, 1, rep))
		return -1;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) {
		reply_fail(rep, errno, "map %zu bytes", bytes);
		goto fail;
	}
	/* EINVAL: a kernel without transparent huge pages. */
	if (madvise(base, bytes, MADV_NOHUGEPAGE) && errno != EINVAL) {
		reply_fail(rep, errno, "MADV_NOHUGEPAGE");
		munmap(base, bytes);
		goto fail;
	}
	area->base = base;
	return 0;
fail:
	buffer_free(&area->labels);
	return -1;
}

/* Checks what was asked for and takes a free place in the table. */
static struct area *area_create(const struct request *req, struct reply *rep)
{
	uint64_t bytes = arg_number(req, "bytes", 0), left = memory_left_kib();
	const char *name = arg_text(req, "name", "");
	struct area *area = find("");

	if (!area)
		reply_fail(rep, 0, "there are %d areas already", AREAS);
	else if (strlen(name) >= sizeof(area->name))
		reply_fail(rep, 0, "name=%s: longer than %zu characters", name, sizeof(area->name) - 1);
	else if (find(name))
		reply_fail(rep, EEXIST, "name=%s", name);
	else if (!bytes || bytes % page_bytes() || bytes / page_bytes() > UINT32_MAX)
		reply_fail(rep, 0, "bytes=%llu: expected a multiple of the page size, %zu", (unsigned long long)bytes,
			   page_bytes());
	else if (bytes > SIZE_MAX || bytes / 1024 + SPARE_KIB > left)
		reply_fail(rep, ENOMEM, "bytes=%llu: MemAvailable and SwapFree are %llu KiB, of which %d are spared",
			   (unsigned long long)bytes, (unsigned long long)left, SPARE_KIB);
	else if (area->pages = (size_t)bytes / page_bytes(), !map_area(area, rep))
		return area;
	return NULL;
}

int cmd_fill_area(const struct request *req, struct reply *rep)
{
	struct census census = { 0 };
	uint64_t start = now_ns(CLOCK_MONOTONIC);
	struct area *area;
	struct mix mix;

	if (mix_parse(&mix, arg_text(req, "mix", ""), rep))
		return -1;
	area = area_create(req, rep);
	if (!area)
		return -1;
	area->mix = mix;
	area->seed = arg_number(req, "seed", 0);
	strcpy(area->name, arg_text(req, "name", ""));
	for (; census.pages < area->pages; census.pages++)
		census.kinds[content_make(&mix, area->seed, census.pages, area->base + census.pages * page_bytes(),
					  page_bytes())]++;
	reply_kinds(rep, &census);
	reply_u64(rep, "wall_ns", now_ns(CLOCK_MONOTONIC) - start);
	return 0;
}

int cmd_verify_area(const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);
	uint64_t start = now_ns(CLOCK_MONOTONIC);
	struct census census = { 0 };
	SCOPED_BUFFER scratch = { 0 };

	if (!area || buffer_make(&scratch, 1, page_bytes(), rep))
		return -1;
	while (census.pages < area->pages) {
		uint64_t page = census.pages;

		census_check(&census, &area->mix, area->seed, page, area->base + page * page_bytes(), scratch.data,
			     page_bytes());
		area_label(area)[page] = LABEL_RAM;
	}
	reply_findings(rep, &census);
	reply_u64(rep, "wall_ns", now_ns(CLOCK_MONOTONIC) - start);
	return 0;
}

int cmd_corrupt_area(const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);
	uint64_t page = arg_number(req, "page", 0);

	if (!area)
		return -1;
	if (page >= area->pages)
		return reply_fail(rep, 0, "page=%llu: %s has %llu pages", (unsigned long long)page, area->name,
				  (unsigned long long)area->pages);
	area->base[page * page_bytes() + page_bytes() / 2] ^= 0x01;
	area_label(area)[page] = LABEL_RAM;
	return 0;
}

int cmd_drop(const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);

	if (!area)
		return -1;
	munmap(area->base, area->pages * page_bytes());
	buffer_free(&area->labels);
	memset(area, 0, sizeof(*area));
	return 0;
}
