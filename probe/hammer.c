// SPDX-License-Identifier: Apache-2.0
/*
 * Reads, writes, frees and page-outs from many threads at once, while others poke zram's attributes. Each page that is
 * read must hold what was written to it last: user space takes pages one at a time, so what else happens to a page
 * happens in the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hammer.h"
#include "pokes.h"

enum { HAMMERS_MAX = 16, SECONDS_MAX = 600, PAGE_OUT_PAGES = 32 };

enum job { JOB_READ, JOB_WRITE, JOB_FREE, JOB_CLASH, JOB_PAGE_OUT, JOBS };
static const char *const job_keys[JOBS] = { "readers", "writers", "freers", "clashers", "pageouts" };
static const char *const job_counts[JOBS] = { "reads", "writes", "frees", "clashes", "pageouts_done" };

struct hammer;

struct worker {
	struct hammer *hammer;
	enum job job;
	pthread_t thread;
	uint64_t state, done, failed;
	int error; /* of the first that failed */
	struct census census;
	struct buffer data, scratch;
};

struct hammer {
	struct target target;
	struct mix mix, clash_mix;
	uint64_t seed, pages, first; /* the pages before it are for those that clash */
	struct buffer table;
	struct worker worker[HAMMERS_MAX];
	int count, running;
	uint64_t deadline_ns;
	atomic_bool stop;
};

static struct hammered *page_of(const struct hammer *hammer, uint64_t page)
{
	return (struct hammered *)hammer->table.data + page;
}

static void hammer_stop(struct hammer *hammer)
{
	atomic_store(&hammer->stop, true);
	while (hammer->running)
		pthread_join(hammer->worker[--hammer->running].thread, NULL);
}

static void hammer_free(struct hammer *hammer)
{
	hammer_stop(hammer);
	for (int i = 0; i < hammer->count; i++) {
		buffer_free(&hammer->worker[i].data);
		buffer_free(&hammer->worker[i].scratch);
	}
	buffer_free(&hammer->table);
	close_scoped(&hammer->target.fd);
}

static void note(struct worker *worker, int error)
{
	worker->done += !error;
	worker->failed += error != 0;
	if (error && !worker->error)
		worker->error = error;
}

static void check(struct worker *worker, uint64_t page)
{
	struct hammer *hammer = worker->hammer;
	struct hammered *is = page_of(hammer, page);
	enum finding finding;
	int error;

	if (is->holds == HOLDS_UNKNOWN)
		return;
	error = target_read(&hammer->target, page, worker->data.data);
	note(worker, error);
	if (error)
		return;
	if (is->holds == HOLDS_NOTHING)
		finding = content_zero(worker->data.data, page_bytes()) ? PAGE_GOOD : PAGE_MISPLACED;
	else
		finding = content_check(&hammer->mix, hammer->seed + is->generation, page, worker->data.data,
					worker->scratch.data, page_bytes());
	census_note(&worker->census, page, finding);
}

static void rewrite(struct worker *worker, uint64_t page)
{
	struct hammer *hammer = worker->hammer;
	struct hammered *is = page_of(hammer, page);
	int error;

	content_make(&hammer->mix, hammer->seed + is->generation + 1, page, worker->data.data, page_bytes());
	error = target_write(&hammer->target, page, worker->data.data);
	note(worker, error);
	is->generation++;
	is->holds = error ? HOLDS_UNKNOWN : HOLDS_PAGE;
}

static void release(struct worker *worker, uint64_t page)
{
	int error = target_free(&worker->hammer->target, page);

	note(worker, error);
	page_of(worker->hammer, page)->holds = error ? HOLDS_UNKNOWN : HOLDS_NOTHING;
}

static void clash(struct worker *worker)
{
	struct hammer *hammer = worker->hammer;
	uint64_t draw = splitmix64(&worker->state);

	content_make(&hammer->clash_mix, draw, draw % CLASH_PAGES, worker->data.data, page_bytes());
	note(worker, target_write(&hammer->target, draw % CLASH_PAGES, worker->data.data));
}

static void page_out(struct worker *worker)
{
	struct hammer *hammer = worker->hammer;
	size_t pages = hammer->pages < PAGE_OUT_PAGES ? (size_t)hammer->pages : PAGE_OUT_PAGES;

	note(worker, target_page_out(&hammer->target, splitmix64(&worker->state) % (hammer->pages - pages + 1), pages));
}

static void with_a_page(struct worker *worker)
{
	struct hammer *hammer = worker->hammer;
	uint64_t page = hammer->first + splitmix64(&worker->state) % (hammer->pages - hammer->first);
	struct hammered *is = page_of(hammer, page);

	if (atomic_exchange(&is->taken, true))
		return;
	if (worker->job == JOB_READ)
		check(worker, page);
	else if (worker->job == JOB_WRITE)
		rewrite(worker, page);
	else
		release(worker, page);
	atomic_store(&is->taken, false);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct hammer *hammer = worker->hammer;

	while (!atomic_load(&hammer->stop) && now_ns(CLOCK_MONOTONIC) < hammer->deadline_ns) {
		if (worker->job == JOB_CLASH)
			clash(worker);
		else if (worker->job == JOB_PAGE_OUT)
			page_out(worker);
		else
			with_a_page(worker);
	}
	return NULL;
}

static int add_workers(struct hammer *hammer, const struct request *req, struct reply *rep)
{
	for (int job = 0; job < JOBS; job++) {
		for (uint64_t i = arg_number(req, job_keys[job], 0); i; i--) {
			struct worker *worker = &hammer->worker[hammer->count];

			if (hammer->count == HAMMERS_MAX)
				return reply_fail(rep, 0, "more than %d threads", HAMMERS_MAX);
			*worker = (struct worker){ .hammer = hammer, .job = (enum job)job };
			worker->state = hammer->seed + (uint64_t)++hammer->count;
			if (buffer_make(&worker->data, 1, page_bytes(), rep) ||
			    buffer_make(&worker->scratch, 1, page_bytes(), rep))
				return -1;
		}
	}
	return hammer->count ? 0 : reply_fail(rep, 0, "no thread was asked for");
}

static int open_path(struct hammer *hammer, const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	uint64_t pages = arg_number(req, "pages", 0), piece = arg_number(req, "piece", page_bytes());
	struct stat st;
	off_t bytes;

	if (mix_parse(&hammer->mix, arg_text(req, "mix", ""), rep))
		return -1;
	if (!piece || page_bytes() % piece)
		return reply_fail(rep, 0, "piece=%llu: expected a part of a page", (unsigned long long)piece);
	if (stat(path, &st))
		return reply_fail(rep, errno, "%s", path);
	hammer->target.is_block = S_ISBLK(st.st_mode);
	hammer->target.piece = (size_t)piece;
	hammer->seed = arg_number(req, "seed", 0);
	hammer->pages = pages;
	hammer->target.fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | (hammer->target.is_block ? O_EXCL : 0));
	if (hammer->target.fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	bytes = lseek(hammer->target.fd, 0, SEEK_END);
	if (bytes < 0 || pages <= CLASH_PAGES || pages > (uint64_t)bytes / page_bytes())
		return reply_fail(rep, 0, "pages=%llu: expected more than %d and at most the pages of %s",
				  (unsigned long long)pages, CLASH_PAGES, path);
	return 0;
}

static int open_area(struct hammer *hammer, const struct request *req, struct reply *rep)
{
	struct area *area = area_named(req, rep);

	if (!area)
		return -1;
	hammer->target.area = area;
	hammer->mix = area->mix;
	hammer->seed = area->seed;
	hammer->pages = area->pages;
	memset(area_label(area), LABEL_RAM, area->pages);
	return 0;
}

static int start(struct hammer *hammer, const struct request *req, struct reply *rep)
{
	uint64_t seconds = arg_number(req, "duration_s", 0);

	if (!seconds || seconds > SECONDS_MAX)
		return reply_fail(rep, 0, "duration_s=%llu: expected 1 to %d", (unsigned long long)seconds,
				  SECONDS_MAX);
	if (mix_parse(&hammer->clash_mix, "c50@3,i50", rep) || add_workers(hammer, req, rep) ||
	    buffer_make(&hammer->table, hammer->pages, sizeof(struct hammered), rep))
		return -1;
	memset(hammer->table.data, 0, hammer->table.bytes);
	hammer->first = arg_number(req, "clashers", 0) ? CLASH_PAGES : 0;
	hammer->deadline_ns = now_ns(CLOCK_MONOTONIC) + seconds * 1000000000u;
	for (; hammer->running < hammer->count; hammer->running++) {
		struct worker *worker = &hammer->worker[hammer->running];
		int error = pthread_create(&worker->thread, NULL, work, worker);

		if (error)
			return reply_fail(rep, error, "start a thread that hammers");
	}
	return 0;
}

/* Pages that several threads wrote at once hold one of what they wrote. */
static uint64_t torn_pages(struct hammer *hammer, struct worker *worker)
{
	uint64_t torn = 0, seed, number;

	for (uint64_t page = 0; page < hammer->first; page++) {
		note(worker, target_read(&hammer->target, page, worker->data.data));
		torn += !content_whole(worker->data.data, page_bytes(), &seed, &number) || number != page;
	}
	return torn;
}

static void add_census(struct census *sum, const struct census *census)
{
	uint64_t bad = sum->pages - sum->findings[PAGE_GOOD], more = census->pages - census->findings[PAGE_GOOD];

	for (uint64_t i = 0; i < more && i < COUNT(census->first_corrupt) && bad + i < COUNT(sum->first_corrupt); i++)
		sum->first_corrupt[bad + i] = census->first_corrupt[i];
	sum->pages += census->pages;
	for (int i = 0; i < FINDINGS; i++)
		sum->findings[i] += census->findings[i];
}

static void report(struct hammer *hammer, struct reply *rep)
{
	struct worker *last = &hammer->worker[0];
	uint64_t done[JOBS] = { 0 }, failed = 0, nothing = 0, torn;
	struct census sum = { 0 };
	int error = 0;

	for (int i = 0; i < hammer->count; i++)
		done[hammer->worker[i].job] += hammer->worker[i].done;
	for (uint64_t page = hammer->first; page < hammer->pages; page++) {
		nothing += page_of(hammer, page)->holds == HOLDS_NOTHING;
		check(last, page);
	}
	torn = torn_pages(hammer, last);
	for (int i = 0; i < hammer->count; i++) {
		struct worker *worker = &hammer->worker[i];

		failed += worker->failed;
		error = error ? error : worker->error;
		add_census(&sum, &worker->census);
	}
	for (int job = 0; job < JOBS; job++)
		reply_u64(rep, job_counts[job], done[job]);
	reply_u64(rep, "freed_pages", nothing);
	reply_u64(rep, "torn", torn);
	reply_u64(rep, "failed", failed);
	reply_text(rep, "failed_errno", errno_name(error));
	reply_findings(rep, &sum);
}

static int hammer_on(struct hammer *hammer, const struct request *req, struct reply *rep)
{
	SCOPED_POKES pokes = { 0 };
	uint64_t zram = arg_number(req, "zram", 0), before[3], after[3];

	if (read_bd_stat(zram, before, rep) || start(hammer, req, rep) || pokes_start(&pokes, req, hammer->pages, rep))
		return -1;
	while (hammer->running)
		pthread_join(hammer->worker[--hammer->running].thread, NULL);
	pokes_stop(&pokes);
	report(hammer, rep);
	if (read_bd_stat(zram, after, rep))
		return -1;
	reply_bd(rep, "bd_before", before);
	reply_bd(rep, "bd_after", after);
	reply_pokes(rep, &pokes);
	return 0;
}

int cmd_hammer_path(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(hammer_free))) struct hammer hammer = { .target.fd = -1 };

	return open_path(&hammer, req, rep) ? -1 : hammer_on(&hammer, req, rep);
}

int cmd_hammer_area(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(hammer_free))) struct hammer hammer = { .target.fd = -1 };

	return open_area(&hammer, req, rep) ? -1 : hammer_on(&hammer, req, rep);
}
