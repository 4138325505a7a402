// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rounds.h"
#include "slots.h"

enum {
	/* Slots of one process that one round takes: 4 GiB of pages of 4 KiB. */
	SLOTS_MAX = 1 << 20,
	MAP_ENTRIES = 512,
};

static int write_attribute(const struct rounds *rounds, const char *name, const char *text)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "/sys/block/zram%llu/%s", (unsigned long long)rounds->zram, name);
	return write_text(path, text);
}

static int write_number(const struct rounds *rounds, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return write_attribute(rounds, name, text);
}

static uint64_t uptime_s(void)
{
	return now_ns(CLOCK_BOOTTIME) / 1000000000;
}

/*
 * Kernels without the time of a slot's last access refuse a number. On 7.0 to 7.2 an age above the uptime means every
 * slot, so none is ever written.
 */
static int choose_marks(struct rounds *rounds, struct reply *rep)
{
	if (rounds->age_s && uptime_s() > 1 && write_number(rounds, "idle", 1)) {
		if (errno != EINVAL)
			return reply_fail(rep, errno, "mark the idle slots of zram%llu",
					  (unsigned long long)rounds->zram);
		rounds->age_s = 0;
	}
	if (!rounds->age_s && write_attribute(rounds, "idle", "all"))
		return reply_fail(rep, errno, "mark all slots of zram%llu idle", (unsigned long long)rounds->zram);
	return 0;
}

int rounds_begin(struct rounds *rounds, uint64_t zram, uint64_t limit_4k, uint64_t total_4k, uint64_t age_s,
		 struct reply *rep)
{
	uint64_t page = page_bytes() / ZRAM_UNIT, slots = limit_4k / page, bd[3];

	/* In whole pages: kernels without the rounding of 7.x take the rest of a page as no limit at all. */
	*rounds = (struct rounds){
		.zram = zram, .limit_4k = slots * page, .left_4k = total_4k / page * page, .age_s = age_s
	};
	if (!slots)
		return reply_fail(rep, 0, "limit_4k=%llu: less than a page", (unsigned long long)limit_4k);
	slots = slots < SLOTS_MAX ? slots : SLOTS_MAX;
	if (read_bd_stat(zram, bd, rep) || choose_marks(rounds, rep) ||
	    buffer_make(&rounds->records, ROUNDS_MAX, sizeof(struct round), rep) ||
	    buffer_make(&rounds->entries, slots, sizeof(uint64_t), rep) ||
	    buffer_make(&rounds->numbers, slots, sizeof(uint32_t), rep)) {
		rounds_free(rounds);
		return -1;
	}
	for (uint64_t i = 0; i < slots; i++)
		((uint32_t *)rounds->numbers.data)[i] = (uint32_t)i;
	return 0;
}

void rounds_free(struct rounds *rounds)
{
	buffer_free(&rounds->entries);
	buffer_free(&rounds->numbers);
	buffer_free(&rounds->records);
}

static void note(struct rounds *rounds, const struct round *round)
{
	if (rounds->count < ROUNDS_MAX)
		((struct round *)rounds->records.data)[rounds->count++] = *round;
	else
		rounds->not_recorded++;
}

/* 0 or an errno; neither says how many pages moved. */
typedef int (*work_fn)(struct rounds *rounds, size_t slots);

static void failed(struct rounds *rounds, int errnum, const char *what)
{
	rounds->failed++;
	reply_init(&rounds->reply, NULL);
	reply_fail(&rounds->reply, errnum, "%s of zram%llu", what, (unsigned long long)rounds->zram);
}

static void account(struct rounds *rounds, const struct round *round)
{
	char path[PATH_BYTES];
	uint64_t left = 1;

	rounds->written_4k += round->pages_4k;
	rounds->left_4k -= round->pages_4k < rounds->left_4k ? round->pages_4k : rounds->left_4k;
	if (!round->errnum)
		return;
	snprintf(path, sizeof(path), "/sys/block/zram%llu/writeback_limit", (unsigned long long)rounds->zram);
	/* A limit that is used up and a failing disk are told by the same errno. */
	if (round->errnum == EIO && read_numbers(path, &left, 1) == 1 && left < page_bytes() / ZRAM_UNIT) {
		rounds->limited++;
		return;
	}
	failed(rounds, (int)round->errnum, "writeback");
}

static void one_round(struct rounds *rounds, work_fn work, size_t slots)
{
	uint64_t limit = rounds->left_4k < rounds->limit_4k ? rounds->left_4k : rounds->limit_4k, before[3], after[3];
	struct round round = { .t_ns = now_ns(CLOCK_MONOTONIC) };

	if (limit < page_bytes() / ZRAM_UNIT)
		return;
	if (write_number(rounds, "writeback_limit", limit) || write_number(rounds, "writeback_limit_enable", 1)) {
		failed(rounds, errno, "writeback_limit");
		return;
	}
	if (read_bd_stat(rounds->zram, before, &rounds->reply)) {
		failed(rounds, EIO, "bd_stat");
		return;
	}
	round.errnum = (uint64_t)work(rounds, slots);
	round.end_ns = now_ns(CLOCK_MONOTONIC);
	if (read_bd_stat(rounds->zram, after, &rounds->reply)) {
		failed(rounds, EIO, "bd_stat");
		return;
	}
	round.pages_4k = after[2] - before[2];
	account(rounds, &round);
	note(rounds, &round);
}

/* 0 or an errno. */
static int write_idle(struct rounds *rounds, size_t slots)
{
	int error = 0;

	(void)slots;
	if (rounds->age_s) {
		/* Nothing is as old as that yet. */
		if (rounds->age_s >= uptime_s())
			return 0;
		if (write_number(rounds, "idle", rounds->age_s))
			return errno;
	}
	/* The bare word: type=idle came with 6.16. */
	if (write_attribute(rounds, "writeback", "idle"))
		error = errno;
	if (!rounds->age_s && write_attribute(rounds, "idle", "all") && !error)
		error = errno;
	return error;
}

void round_of_idle(struct rounds *rounds)
{
	one_round(rounds, write_idle, 0);
}

/* Entries of a page table that lie on the zram in question. */
struct search {
	unsigned int type, active;
	uint64_t *entry;
	size_t count, room;
};

static void search_entries(struct search *search, const uint64_t *entry, size_t entries)
{
	for (size_t i = 0; i < entries && search->count < search->room; i++) {
		bool ours = search->active == 1 || pagemap_type(entry[i]) == search->type;

		if ((entry[i] & PAGEMAP_SWAPPED) && ours)
			search->entry[search->count++] = entry[i];
	}
}

static void search_range(struct search *search, int pagemap, uint64_t from, uint64_t to)
{
	uint64_t entry[MAP_ENTRIES];

	while (from < to && search->count < search->room) {
		uint64_t pages = (to - from) / page_bytes();
		size_t most = pages < MAP_ENTRIES ? (size_t)pages : MAP_ENTRIES;
		ssize_t n = pread(pagemap, entry, most * 8, (off_t)(from / page_bytes() * 8));

		/* Above what processes have, or the process is gone. */
		if (n < 8)
			return;
		search_entries(search, entry, (size_t)n / 8);
		from += (uint64_t)n / 8 * page_bytes();
	}
}

/* Private mappings that can be accessed: reservations hold nothing, and what is shared is not this process's. */
static int search_process(struct search *search, pid_t pid)
{
	char path[48], line[512], rights[8];
	unsigned long long from, to;
	bool whole = true;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	SCOPED_FD pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	if (pagemap < 0 || !(maps = fopen(path, "re")))
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		/* The rest of a line with a long path is not the begin of another. */
		bool begin = whole;

		whole = strchr(line, '\n');
		if (begin && sscanf(line, "%llx-%llx %7s", &from, &to, rights) == 3 && strncmp(rights, "---", 3) &&
		    rights[3] == 'p')
			search_range(search, pagemap, from, to);
	}
	fclose(maps);
	return 0;
}

static int by_slot(const void *a, const void *b)
{
	uint64_t left = pagemap_slot(*(const uint64_t *)a), right = pagemap_slot(*(const uint64_t *)b);

	return (left > right) - (left < right);
}

/* 0 or an errno. */
static int write_slots(struct rounds *rounds, size_t count)
{
	struct slot_work work = { .page = rounds->numbers.data, .count = count, .map = rounds->entries.data };
	char call[CALL_BYTES + 1];

	for (uint64_t done = 0; done < count && !atomic_load(&rounds->stop);) {
		uint64_t pages;

		work.grammar = rounds->single ? GRAMMAR_SINGLE : GRAMMAR_SEVERAL;
		pages = slot_work_compose(&work, done, call);
		if (!write_attribute(rounds, "writeback", call)) {
			done += pages;
			continue;
		}
		/* Kernels before 6.16. */
		if (errno != EINVAL || rounds->single)
			return errno;
		rounds->single = true;
	}
	return 0;
}

enum found round_of_process(struct rounds *rounds, pid_t pid)
{
	struct search search = { .entry = rounds->entries.data, .room = rounds->entries.bytes / sizeof(uint64_t) };

	if (zram_swap_type(rounds->zram, &search.type, &search.active, &rounds->reply)) {
		failed(rounds, ENODEV, "swap");
		return FOUND_NOBODY;
	}
	if (search_process(&search, pid))
		return FOUND_NOBODY;
	if (!search.count)
		return FOUND_NOTHING;
	qsort(search.entry, search.count, sizeof(*search.entry), by_slot);
	one_round(rounds, write_slots, search.count);
	return FOUND_SLOTS;
}

int rounds_end(struct rounds *rounds, const char *out, struct reply *rep)
{
	write_number(rounds, "writeback_limit_enable", 0);
	write_number(rounds, "writeback_limit", 0);
	reply_u64(rep, "rounds", rounds->count + rounds->not_recorded);
	reply_u64(rep, "recorded", rounds->count);
	reply_u64(rep, "written_4k", rounds->written_4k);
	reply_u64(rep, "limited", rounds->limited);
	reply_u64(rep, "failed", rounds->failed);
	reply_u64(rep, "spent", rounds->left_4k < page_bytes() / ZRAM_UNIT);
	if (rounds->failed)
		reply_text(rep, "failure", rounds->reply.error);
	return write_out(out, rounds->records.data, rounds->count * sizeof(struct round), rep);
}
