// SPDX-License-Identifier: Apache-2.0
/* Times how long each page of an area takes to be there, and what the timing itself costs. */
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "selection.h"
#include "touch.h"

enum {
	OVERHEAD_PAGES = 64,
	OVERHEAD_SAMPLES_MAX = 1000000,
};

static void take_samples(const unsigned char *base, const uint32_t *order, uint64_t count, struct sample *sample)
{
	size_t bytes = page_bytes();

	for (uint64_t i = 0; i < count; i++)
		touch_page(base, bytes, order[i], &sample[i]);
}

struct plan {
	struct buffer order, samples;
	size_t count;
};

static void plan_free(struct plan *plan)
{
	buffer_free(&plan->order);
	buffer_free(&plan->samples);
}

static int plan_make(struct plan *plan, const struct request *req, const struct area *area, struct reply *rep)
{
	uint64_t count = arg_number(req, "pages", area->pages);
	uint32_t *order;

	if (!count || count > area->pages)
		return reply_fail(rep, 0, "pages=%llu: %s has %zu", (unsigned long long)count, area->name, area->pages);
	plan->count = (size_t)count;
	if (buffer_make(&plan->order, area->pages, sizeof(*order), rep) ||
	    buffer_make(&plan->samples, plan->count, sizeof(struct sample), rep))
		return -1;
	order = plan->order.data;
	for (uint64_t i = 0; i < area->pages; i++)
		order[i] = (uint32_t)i;
	if (!strcmp(arg_text(req, "order", ""), "random"))
		draw(order, area->pages, plan->count, arg_number(req, "seed", 0));
	return 0;
}

/* Labels the samples by where their pages were, takes the labels back, and counts the pages that were not in swap. */
static uint64_t label_samples(struct area *area, const struct plan *plan, const uint64_t *map)
{
	struct sample *sample = plan->samples.data;
	uint64_t not_swapped = 0;

	for (uint64_t i = 0; i < plan->count; i++) {
		bool swapped = map[sample[i].page] & PAGEMAP_SWAPPED;
		uint8_t *label = &area_label(area)[sample[i].page];

		sample[i].label = swapped ? *label : LABEL_RAM;
		*label = LABEL_RAM;
		not_swapped += !swapped;
	}
	return not_swapped;
}

static void reply_touch(struct reply *rep, const struct cost *cost, uint64_t samples, uint64_t not_swapped)
{
	reply_u64(rep, "samples", samples);
	reply_u64(rep, "not_swapped", not_swapped);
	reply_i64(rep, "majflt", cost->majflt);
	reply_i64(rep, "minflt", cost->minflt);
	reply_u64(rep, "wall_ns", cost->wall_ns);
	reply_u64(rep, "user_ns", cost->user_ns);
	reply_u64(rep, "sys_ns", cost->sys_ns);
}

int cmd_touch(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(plan_free))) struct plan plan = { 0 };
	uint64_t zram = arg_number(req, "zram", 0), before[3], after[3];
	struct area *area = area_named(req, rep);
	bool with_books = arg_given(req, "zram");
	SCOPED_BUFFER map = { 0 };
	struct cost cost;

	if (!area || plan_make(&plan, req, area, rep) || area_pagemap(area, &map, rep))
		return -1;
	if (with_books && read_bd_stat(zram, before, rep))
		return -1;
	if (io_class_set(arg_text(req, "io", "default"), rep))
		return -1;
	cost_start(&cost);
	take_samples(area->base, plan.order.data, plan.count, plan.samples.data);
	cost_stop(&cost);
	if (io_class_set("default", rep))
		return -1;
	if (with_books && read_bd_stat(zram, after, rep))
		return -1;
	reply_touch(rep, &cost, plan.count, label_samples(area, &plan, map.data));
	if (with_books) {
		reply_bd(rep, "bd_before", before);
		reply_bd(rep, "bd_after", after);
	}
	return write_out(arg_text(req, "out", ""), plan.samples.data, plan.count * sizeof(struct sample), rep);
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void reply_quantiles(struct reply *rep, const char *key, uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	reply_open(rep, key, '{');
	reply_u64(rep, "min", values[0]);
	reply_u64(rep, "p50", values[(count - 1) / 2]);
	reply_u64(rep, "p99", values[(count - 1) * 99 / 100]);
	reply_u64(rep, "max", values[count - 1]);
	reply_close(rep, '{');
}

/*
 * timer_ns: two clocks with nothing between them. resident_ns: what a sample of touch says about a page that is there.
 * sample_ns: from the start of one such sample to the start of the next, everything that touch does per sample.
 */
int cmd_overhead(const struct request *req, struct reply *rep)
{
	uint64_t asked = arg_number(req, "samples", 0), *value;
	SCOPED_BUFFER pages = { 0 }, order = { 0 }, samples = { 0 }, values = { 0 };
	struct sample *sample;
	size_t count;

	if (asked < 2 || asked > OVERHEAD_SAMPLES_MAX)
		return reply_fail(rep, 0, "samples=%llu: expected 2 to %d", (unsigned long long)asked,
				  OVERHEAD_SAMPLES_MAX);
	count = (size_t)asked;
	if (buffer_make(&pages, OVERHEAD_PAGES, page_bytes(), rep) ||
	    buffer_make(&order, count, sizeof(uint32_t), rep) ||
	    buffer_make(&samples, count, sizeof(struct sample), rep) ||
	    buffer_make(&values, count, sizeof(uint64_t), rep))
		return -1;
	value = values.data;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t start = now_ns(CLOCK_MONOTONIC);

		compiler_barrier();
		value[i] = now_ns(CLOCK_MONOTONIC) - start;
		((uint32_t *)order.data)[i] = (uint32_t)(splitmix64(&start) % OVERHEAD_PAGES);
	}
	reply_u64(rep, "samples", count);
	reply_quantiles(rep, "timer_ns", value, count);
	sample = samples.data;
	take_samples(pages.data, order.data, count, sample);
	for (uint64_t i = 0; i < count; i++)
		value[i] = sample[i].ns;
	reply_quantiles(rep, "resident_ns", value, count);
	for (uint64_t i = 0; i < count - 1; i++)
		value[i] = sample[i + 1].t_ns - sample[i].t_ns;
	reply_quantiles(rep, "sample_ns", value, count - 1);
	return 0;
}
