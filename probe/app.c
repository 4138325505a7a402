// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app.h"
#include "area.h"
#include "selection.h"
#include "syscalls.h"
#include "touch.h"

/* A page of the working set: its third word, which in most pages is the page's number. */
struct spot {
	const volatile uint64_t *word;
	uint64_t expected;
};

static struct {
	struct app_setup setup;
	struct mix mix;
	unsigned char *anonymous, *file;
	struct buffer spots, scratch;
	size_t spot_count, file_spots;
	uint64_t turn;
} app;

static int map_memory(struct reply *rep)
{
	size_t bytes = app.setup.anonymous_pages * page_bytes();
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return reply_fail(rep, errno, "map %zu bytes", bytes);
	/* One fault then brings in one page. EINVAL: a kernel without transparent huge pages. */
	if (madvise(base, bytes, MADV_NOHUGEPAGE) && errno != EINVAL)
		return reply_fail(rep, errno, "MADV_NOHUGEPAGE");
	app.anonymous = base;
	if (!app.setup.file_pages)
		return 0;
	bytes = app.setup.file_pages * page_bytes();
	base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, APP_FILE, (off_t)(app.setup.file_first * page_bytes()));
	if (base == MAP_FAILED)
		return reply_fail(rep, errno, "map %zu bytes of the file", bytes);
	/* Readahead would make the number of reads depend on what else is read. */
	madvise(base, bytes, MADV_RANDOM);
	app.file = base;
	return 0;
}

/* The first pages of a mapping in the order of touching, to *spot, which moves on. */
static int place_spots(struct spot **spot, unsigned char *base, size_t pages, size_t pick, struct reply *rep)
{
	SCOPED_BUFFER order = { 0 };
	uint32_t *page;

	if (buffer_make(&order, pages, sizeof(*page), rep))
		return -1;
	page = order.data;
	for (uint64_t i = 0; i < pages; i++)
		page[i] = (uint32_t)i;
	if (app.setup.random)
		draw(page, pages, pick, app.setup.seed);
	for (uint64_t i = 0; i < pick; i++)
		*(*spot)++ = (struct spot){ .word = (const uint64_t *)(base + page[i] * page_bytes()) + 2 };
	return 0;
}

static int make_spots(struct reply *rep)
{
	size_t file = (size_t)((uint64_t)app.setup.file_pages * app.setup.working_pages / app.setup.anonymous_pages);
	struct spot *spot;

	app.file_spots = file;
	app.spot_count = file + app.setup.working_pages;
	if (buffer_make(&app.spots, app.spot_count, sizeof(*spot), rep))
		return -1;
	spot = app.spots.data;
	/* Code first, then data, as an app does. */
	if (file && place_spots(&spot, app.file, app.setup.file_pages, file, rep))
		return -1;
	return place_spots(&spot, app.anonymous, app.setup.anonymous_pages, app.setup.working_pages, rep);
}

static int set_up(const struct app_setup *setup, struct app_answer *answer, struct reply *rep)
{
	struct spot *spot;

	app.setup = *setup;
	app.setup.mix[APP_MIX_BYTES - 1] = '\0';
	if (mix_parse(&app.mix, app.setup.mix, rep) || map_memory(rep) || make_spots(rep) ||
	    buffer_make(&app.scratch, 1, page_bytes(), rep))
		return -1;
	for (uint64_t i = 0; i < app.setup.anonymous_pages; i++)
		content_make(&app.mix, app.setup.seed, i, app.anonymous + i * page_bytes(), page_bytes());
	spot = app.spots.data;
	for (uint64_t i = 0; i < app.spot_count; i++)
		spot[i].expected = *spot[i].word;
	answer->anonymous = (uintptr_t)app.anonymous;
	answer->file = (uintptr_t)app.file;
	return 0;
}

/* Pages of the working set that are in swap; the page table of the file's pages says nothing of the kind. */
static int count_swapped_spots(uint64_t *swapped, struct reply *rep)
{
	SCOPED_FD fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	const struct spot *spot = app.spots.data;

	if (fd < 0)
		return reply_fail(rep, errno, "open /proc/self/pagemap");
	*swapped = 0;
	for (uint64_t i = app.file_spots; i < app.spot_count; i++) {
		off_t at = (off_t)((uintptr_t)spot[i].word / page_bytes() * 8);
		uint64_t entry;

		if (pread(fd, &entry, sizeof(entry), at) != (ssize_t)sizeof(entry))
			return reply_fail(rep, errno, "read /proc/self/pagemap");
		*swapped += !!(entry & PAGEMAP_SWAPPED);
	}
	return 0;
}

/* Some pages as a whole, others at each switch; after the measurement, for it costs time. */
static uint64_t count_corrupt_pages(void)
{
	const struct spot *spot = (const struct spot *)app.spots.data + app.file_spots;
	uint64_t corrupt = 0;

	for (int i = 0; i < APP_WHOLE_PAGES; i++) {
		const struct spot *one = &spot[(app.turn * APP_WHOLE_PAGES + (uint64_t)i) % app.setup.working_pages];
		uint64_t page = (uint64_t)((const volatile unsigned char *)one->word - app.anonymous) / page_bytes();

		corrupt += content_check(&app.mix, app.setup.seed, page, app.anonymous + page * page_bytes(),
					 app.scratch.data, page_bytes()) != PAGE_GOOD;
	}
	app.turn++;
	return corrupt;
}

/*
 * How fast this phone takes page faults just now: first reads of pages that hold nothing. All of them are the kernel's
 * one zero page, so no memory is needed, and neither zram nor storage has a part in it.
 */
static int time_control(uint64_t *ns, struct reply *rep)
{
	size_t bytes = APP_CONTROL_PAGES * page_bytes();
	unsigned char *base = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t begin;

	if (base == MAP_FAILED)
		return reply_fail(rep, errno, "map %zu bytes", bytes);
	madvise(base, bytes, MADV_NOHUGEPAGE);
	begin = now_ns(CLOCK_MONOTONIC);
	for (size_t at = 0; at < bytes; at += page_bytes())
		(void)*(const volatile unsigned char *)(base + at);
	*ns = now_ns(CLOCK_MONOTONIC) - begin;
	munmap(base, bytes);
	return 0;
}

/*
 * The measurement. Nothing but the read of one word stands between the clocks, and what this loop looks up cannot
 * fault: the spots are a locked buffer.
 */
static int touch(const struct app_order *order, struct app_answer *answer, struct reply *rep)
{
	const struct spot *spot = app.spots.data;
	uint64_t begin, end = 0, before = 0;
	struct cost cost;

	if (count_swapped_spots(&answer->swapped, rep) || (!order->since_ns && time_control(&before, rep)))
		return -1;
	cost_start(&cost);
	begin = now_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < app.spot_count; i++) {
		uint64_t start = now_ns(CLOCK_MONOTONIC), word;

		compiler_barrier();
		word = *spot[i].word;
		compiler_barrier();
		end = now_ns(CLOCK_MONOTONIC);
		answer->slowest_ns = end - start > answer->slowest_ns ? end - start : answer->slowest_ns;
		answer->corrupt += word != spot[i].expected;
	}
	cost_stop(&cost);
	answer->latency_ns = end - (order->since_ns ? order->since_ns : begin);
	answer->majflt = (uint64_t)cost.majflt;
	if (time_control(&answer->control_ns, rep))
		return -1;
	/* Latency of a cold start counts from before this process existed: nothing may precede the touches. */
	if (before)
		answer->control_ns = (before + answer->control_ns) / 2;
	answer->corrupt += count_corrupt_pages();
	return 0;
}

static int page_out(struct reply *rep)
{
	if (madvise(app.anonymous, app.setup.anonymous_pages * page_bytes(), MADV_PAGEOUT))
		return reply_fail(rep, errno, "MADV_PAGEOUT");
	if (app.file)
		madvise(app.file, app.setup.file_pages * page_bytes(), MADV_PAGEOUT);
	return 0;
}

static int obey(const struct app_order *order, struct app_answer *answer, struct reply *rep)
{
	switch (order->task) {
	case APP_SET_UP:
		return set_up(&order->setup, answer, rep);
	case APP_TOUCH:
		return touch(order, answer, rep);
	case APP_PAGE_OUT:
		return page_out(rep);
	default:
		return reply_fail(rep, 0, "unknown task");
	}
}

int app_main(int argc, char **argv)
{
	static struct reply reply;
	struct app_order order;

	/* Its own program text and stack stay; what it is about to map does not. Only root may: else they may leave. */
	mlockall(MCL_CURRENT);
	prctl(PR_SET_NAME, argv[0]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may be gone already. */
	if (argc < 3 || getppid() != atoi(argv[2]))
		return EXIT_FAILURE;
	while (recv(APP_SOCKET, &order, sizeof(order), 0) == (ssize_t)sizeof(order)) {
		struct app_answer answer = { 0 };

		reply_init(&reply, NULL);
		if (obey(&order, &answer, &reply)) {
			answer.failed = 1;
			memcpy(answer.error, reply.error, sizeof(answer.error) - 1);
		}
		if (send(APP_SOCKET, &answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer))
			break;
	}
	return EXIT_SUCCESS;
}
