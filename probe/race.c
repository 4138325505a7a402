// SPDX-License-Identifier: Apache-2.0
/*
 * Page faults while a writeback runs. One thread has zram write back the pages of one area, the victim. The other
 * touches, in turn, a page of a second area, which the writeback leaves alone, and a page of the victim whose write is
 * in flight just now.
 *
 * Which pages are in flight is told by the backing device, not by zram (its attributes wait for the writeback since
 * 7.0): it counts completed writes, and zram takes the slots of one call from the last to the first when all are of
 * one size class. That is an aim. What was hit is counted: a read at the backing device during a touch means that the
 * page was written back already, and pages that were touched before their write was begun are never written, so the
 * device's writes tell how many those were.
 *
 * The control is the very same loop while nothing is written: the other thread sleeps, or burns as much CPU time as one
 * that writes, and the victim's pages are touched in the order in which they would be written. What every touch brought
 * is compared with what was stored, once nothing is timed any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blockstat.h"
#include "selection.h"
#include "slots.h"
#include "touch.h"

enum { LABEL_IN_FLIGHT = 2, LABEL_LATE = 3, LABEL_VICTIM = 4, LABELS = 5 };

static const char *const label_names[LABELS] = {
	[LABEL_RAM] = "ram",
	[LABEL_WRITTEN_BACK] = "written_back",
	[LABEL_IN_FLIGHT] = "in_flight",
	[LABEL_LATE] = "late",
	[LABEL_VICTIM] = "victim",
};

enum {
	/* Some microseconds of work between two looks at the clock. */
	BURN_STEPS = 2000,
};

enum writer { WRITER_WRITES, WRITER_SLEEPS, WRITER_BURNS };

struct race {
	struct slot_work victims;
	uint32_t *order; /* the victim's pages as zram is expected to write them */
	struct area *area;
	struct buffer area_order, samples, victim_order;
	const uint64_t *area_map;
	size_t taken;
	uint64_t seen[LABELS], next_page, next_victim;
	uint64_t lag; /* how many pages the completed writes lag behind their place in the order */
	int stat_fd, writeback_fd;
	uint64_t writes_at_start;
	uint64_t in_flight; /* at the backing device when its counters were last read */
	enum writer kind;
	uint64_t burn_percent;
	/* that nothing is to be touched any more */
	sem_t touched;
	/* of the writing thread, or of the one in its place */
	pthread_t writer;
	atomic_bool written;
	uint64_t done;
	int error;
	struct cost cost;
};

static void race_free(struct race *race)
{
	slot_work_free(&race->victims);
	buffer_free(&race->area_order);
	buffer_free(&race->samples);
	buffer_free(&race->victim_order);
	close_scoped(&race->stat_fd);
	close_scoped(&race->writeback_fd);
}

static void sleep_until_touched(struct race *race)
{
	while (sem_wait(&race->touched))
		;
}

/* This thread's share of a CPU, from its first moment on. */
static void burn_until_touched(struct race *race)
{
	uint64_t begin_ns = now_ns(CLOCK_MONOTONIC), cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID), state = begin_ns;

	while (sem_trywait(&race->touched)) {
		uint64_t spent = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;

		if (spent > (now_ns(CLOCK_MONOTONIC) - begin_ns) / 100 * race->burn_percent)
			sleep_ms(1);
		else
			for (int i = 0; i < BURN_STEPS; i++)
				splitmix64(&state);
	}
}

static void *write_back(void *argument)
{
	struct race *race = argument;

	cost_start(&race->cost);
	if (race->kind == WRITER_SLEEPS)
		sleep_until_touched(race);
	else if (race->kind == WRITER_BURNS)
		burn_until_touched(race);
	else
		race->error = slot_work_write(&race->victims, race->writeback_fd, &race->done);
	cost_stop(&race->cost);
	atomic_store(&race->written, true);
	return NULL;
}

/* zram takes the slots of one call from the last to the first; of calls with one slot each, in their order. */
static int predict_order(struct race *race, struct reply *rep)
{
	char call[CALL_BYTES + 1];

	if (buffer_make(&race->victim_order, race->victims.count, sizeof(uint32_t), rep))
		return -1;
	race->order = race->victim_order.data;
	for (uint64_t from = 0, pages; from < race->victims.count; from += pages) {
		pages = slot_work_compose(&race->victims, from, call);
		for (uint64_t i = 0; i < pages; i++)
			race->order[from + i] = race->victims.page[from + pages - 1 - i];
	}
	return 0;
}

static int choose_writer(struct race *race, const struct request *req, struct reply *rep)
{
	const char *writer = arg_text(req, "writer", "write");

	race->kind = !strcmp(writer, "write") ? WRITER_WRITES : !strcmp(writer, "burn") ? WRITER_BURNS : WRITER_SLEEPS;
	race->burn_percent = arg_number(req, "burn_percent", 0);
	if (arg_given(req, "burn_percent") != (race->kind == WRITER_BURNS) || race->burn_percent > 100)
		return reply_fail(rep, 0, "burn_percent: 0 to 100, with writer=burn and no other");
	return 0;
}

static int prepare(struct race *race, const struct request *req, uint64_t zram, struct reply *rep)
{
	struct area *victim;
	char path[PATH_BYTES];
	uint32_t *order;

	if (choose_writer(race, req, rep))
		return -1;
	race->area = area_named(req, rep);
	victim = race->area ? area_by_name(arg_text(req, "victim", ""), rep) : NULL;
	if (!victim)
		return -1;
	if (victim == race->area)
		return reply_fail(rep, 0, "victim=%s: must be another area", victim->name);
	if (slot_work_find(&race->victims, victim, zram, rep) || slot_work_sort(&race->victims, rep))
		return -1;
	if (!race->victims.count)
		return reply_fail(rep, 0, "victim=%s: no page that can be written back", victim->name);
	race->victims.grammar = strcmp(arg_text(req, "grammar", ""), "page_index") ? GRAMMAR_SEVERAL : GRAMMAR_SINGLE;
	if (predict_order(race, rep) || buffer_make(&race->area_order, race->area->pages, sizeof(*order), rep) ||
	    buffer_make(&race->samples, race->area->pages + race->victims.count, sizeof(struct sample), rep))
		return -1;
	order = race->area_order.data;
	for (uint64_t i = 0; i < race->area->pages; i++)
		order[i] = (uint32_t)i;
	draw(order, race->area->pages, race->area->pages, arg_number(req, "seed", 0));
	race->stat_fd = blockstat_open(arg_text(req, "disk", ""), rep);
	if (race->stat_fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/sys/block/zram%llu/writeback", (unsigned long long)zram);
	race->writeback_fd = open(path, O_WRONLY | O_CLOEXEC);
	return race->writeback_fd < 0 ? reply_fail(rep, errno, "open %s", path) : 0;
}

static void keep(struct race *race, struct sample *sample, uint16_t label, uint64_t ahead)
{
	sample->label = label;
	sample->ahead = ahead < UINT16_MAX ? (uint16_t)ahead : UINT16_MAX;
	race->seen[label]++;
	race->taken++;
}

static struct sample *next_sample(struct race *race)
{
	return (struct sample *)race->samples.data + race->taken;
}

/* Right after the device's counters were read, so that they tell what lies ahead of the fault. */
static void touch_area(struct race *race, size_t bytes)
{
	uint32_t page = ((uint32_t *)race->area_order.data)[race->next_page++];
	struct sample *sample = next_sample(race);

	/* A page that was never swapped out, or came back by itself, is no fault. */
	if (!(race->area_map[page] & PAGEMAP_SWAPPED))
		return;
	touch_page(race->area->base, bytes, page, sample);
	keep(race, sample, area_label(race->area)[page], race->in_flight);
	area_label(race->area)[page] = LABEL_RAM;
}

/* Of what is in flight the middle; where nothing is written, the next one. The number of pages for none. */
static uint64_t aim(const struct race *race, const struct blockstat *now)
{
	uint64_t at;

	if (race->kind != WRITER_WRITES)
		return race->next_victim;
	at = now->writes - race->writes_at_start + now->in_flight / 2 + race->lag;
	return now->in_flight && at >= race->next_victim ? at : race->victims.count;
}

/* A page found written back says that the aim lags behind. */
static int touch_victim(struct race *race, size_t bytes)
{
	struct sample *sample = next_sample(race);
	struct blockstat before, after;
	uint64_t at;
	bool late;

	if (blockstat_read(race->stat_fd, &before))
		return -1;
	race->in_flight = before.in_flight;
	at = aim(race, &before);
	if (at >= race->victims.count)
		return 0;
	race->next_victim = at + 1;
	touch_page(race->victims.area->base, bytes, race->order[at], sample);
	if (blockstat_read(race->stat_fd, &after))
		return -1;
	race->in_flight = after.in_flight;
	late = after.reads != before.reads;
	area_label(race->victims.area)[race->order[at]] = LABEL_RAM;
	if (race->kind != WRITER_WRITES) {
		keep(race, sample, LABEL_VICTIM, before.in_flight);
		return 0;
	}
	keep(race, sample, late ? LABEL_LATE : LABEL_IN_FLIGHT, before.in_flight);
	/* A page touched before its write was begun is never written, and what is in flight lies as much further on. */
	if (late)
		race->lag += before.in_flight / 2 + 1;
	else if (race->lag && race->seen[LABEL_IN_FLIGHT] % 4 == 0)
		race->lag--;
	return 0;
}

static int run(struct race *race, struct reply *rep)
{
	size_t bytes = page_bytes();
	struct blockstat start;
	int error;

	if (blockstat_settled(race->stat_fd, &start))
		return reply_fail(rep, errno, "the counters of the backing device");
	race->writes_at_start = start.writes;
	error = pthread_create(&race->writer, NULL, write_back, race);
	if (error)
		return reply_fail(rep, error, "start the thread that writes back");
	while (!atomic_load(&race->written) && race->next_page < race->area->pages && !error) {
		touch_area(race, bytes);
		if (!atomic_load(&race->written))
			error = touch_victim(race, bytes);
	}
	sem_post(&race->touched);
	pthread_join(race->writer, NULL);
	return error ? reply_fail(rep, errno, "the counters of the backing device") : 0;
}

static int report(struct race *race, const struct cost *cost, struct reply *rep)
{
	struct blockstat end;

	if (blockstat_settled(race->stat_fd, &end))
		return reply_fail(rep, errno, "the counters of the backing device");
	reply_u64(rep, "samples", race->taken);
	for (int label = 0; label < LABELS; label++)
		reply_u64(rep, label_names[label], race->seen[label]);
	reply_u64(rep, "victims", race->victims.count);
	reply_u64(rep, "device_writes", end.writes - race->writes_at_start);
	reply_i64(rep, "majflt", cost->majflt);
	reply_u64(rep, "wall_ns", race->cost.wall_ns);
	reply_u64(rep, "user_ns", race->cost.user_ns);
	reply_u64(rep, "sys_ns", race->cost.sys_ns);
	reply_u64(rep, "calls", race->victims.calls);
	if (race->error)
		return reply_fail(rep, race->error, "writeback after %llu of %llu pages",
				  (unsigned long long)race->done, (unsigned long long)race->victims.count);
	return 0;
}

/* Compares each page that was touched with what it was filled with, and counts those that differ by label. */
static int check_contents(const struct race *race, struct reply *rep)
{
	const struct sample *sample = race->samples.data;
	uint64_t corrupt[LABELS] = { 0 };
	SCOPED_BUFFER scratch = { 0 };
	size_t bytes = page_bytes();

	if (buffer_make(&scratch, 1, bytes, rep))
		return -1;
	for (size_t i = 0; i < race->taken; i++) {
		const struct area *area = sample[i].label < LABEL_IN_FLIGHT ? race->area : race->victims.area;

		corrupt[sample[i].label] +=
			content_check(&area->mix, area->seed, sample[i].page, area->base + sample[i].page * bytes,
				      scratch.data, bytes) != PAGE_GOOD;
	}
	reply_open(rep, "corrupt", '{');
	for (int label = 0; label < LABELS; label++)
		reply_u64(rep, label_names[label], corrupt[label]);
	reply_close(rep, '{');
	return 0;
}

int cmd_race(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(race_free))) struct race race = { .stat_fd = -1, .writeback_fd = -1 };
	uint64_t zram = arg_number(req, "zram", 0), before[3], after[3];
	SCOPED_BUFFER map = { 0 };
	struct cost cost;

	if (prepare(&race, req, zram, rep) || area_pagemap(race.area, &map, rep) || read_bd_stat(zram, before, rep))
		return -1;
	race.area_map = map.data;
	sem_init(&race.touched, 0, 0);
	cost_start(&cost);
	if (run(&race, rep))
		return -1;
	cost_stop(&cost);
	if (read_bd_stat(zram, after, rep) || report(&race, &cost, rep))
		return -1;
	reply_bd(rep, "bd_before", before);
	reply_bd(rep, "bd_after", after);
	/* What is read now is counted by nobody. */
	if (check_contents(&race, rep))
		return -1;
	return write_out(arg_text(req, "out", ""), race.samples.data, race.taken * sizeof(struct sample), rep);
}
