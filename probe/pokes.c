// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "blockstat.h"
#include "content.h"
#include "pokes.h"

enum {
	/*
	 * The kernel takes any u32 and allocates that many requests and pages at the next writeback; a million of them
	 * panicked a machine of 1 GiB.
	 */
	BATCH_MAX = 4096,
	SECONDS_MAX = 600,
	OTHERS_MAX = 8,
	SWAPOFF_BYTES = sizeof("swapoff") - 1,
};

int check_harmless(const char *path, const char *value, struct reply *rep)
{
	char real[4096];
	const char *name;

	if (!realpath(path, real))
		return reply_fail(rep, errno, "%s", path);
	name = strrchr(real, '/');
	if (strcmp(name, "/writeback_batch_size"))
		return 0;
	errno = 0;
	if (strtoull(value, NULL, 10) > BATCH_MAX || strtoull(value, NULL, 0) > BATCH_MAX || errno)
		return reply_fail(rep, 0, "value=%s: refused, a batch of more than %d may take the phone down", value,
				  BATCH_MAX);
	return 0;
}

int step_parse(struct step *step, const char *text, uint64_t zram, struct reply *rep)
{
	size_t length = strcspn(text, ":");
	int name = (int)length;

	memset(step, 0, sizeof(*step));
	if (!length || strlen(text) >= sizeof(step->text))
		return reply_fail(rep, 0, "%s: expected attribute:value or attribute, of less than %d characters", text,
				  STEP_BYTES);
	strcpy(step->text, text);
	if (text[length])
		strcpy(step->value, text + length + 1);
	step->kind = text[length] ? STEP_WRITE : STEP_READ;
	if (length == SWAPOFF_BYTES && !strncmp(text, "swapoff", length)) {
		step->kind = STEP_SWAPOFF;
		return 0;
	}
	if (*text == '/')
		snprintf(step->path, sizeof(step->path), "%.*s", name, text);
	else
		snprintf(step->path, sizeof(step->path), "/sys/block/zram%llu/%.*s", (unsigned long long)zram, name,
			 text);
	for (char *at = step->value; *at; at++)
		if (*at == '+')
			*at = ' ';
	if (check_harmless(step->path, step->value, rep))
		return -1;
	if (strpbrk(step->value, "%#") && strstr(step->path, "batch_size"))
		return reply_fail(rep, 0, "%s: a batch size is no random number", text);
	return 0;
}

/* "%" is a random page, "#" the one behind it. */
static void expand(const char *value, char out[2 * STEP_BYTES], uint64_t *state, uint64_t pages)
{
	uint64_t page = pages > 1 ? splitmix64(state) % (pages - 1) : 0;
	size_t used = 0;

	for (; *value && used + 24 < 2 * STEP_BYTES; value++) {
		if (*value == '%' || *value == '#')
			used += (size_t)snprintf(out + used, 2 * STEP_BYTES - used, "%llu",
						 (unsigned long long)(page + (*value == '#')));
		else
			out[used++] = *value;
	}
	out[used] = '\0';
}

int step_run(const struct step *step, uint64_t *state, uint64_t pages)
{
	char value[2 * STEP_BYTES], ignored[4096];
	ssize_t n;

	if (step->kind == STEP_SWAPOFF)
		return swapoff(step->value) ? errno : 0;
	SCOPED_FD fd = open(step->path, (step->kind == STEP_READ ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (step->kind == STEP_READ) {
		n = read(fd, ignored, sizeof(ignored));
	} else {
		expand(step->value, value, state, pages);
		n = write(fd, value, strlen(value));
	}
	return n < 0 ? errno : 0;
}

static void note(struct step *step, int error)
{
	step->done += !error;
	for (int i = 0; error && i < ERRNOS_MAX; i++) {
		struct refusal *refusal = &step->refused[i];

		if (refusal->errnum && refusal->errnum != error)
			continue;
		refusal->errnum = error;
		refusal->count++;
		return;
	}
}

static void *repeat(void *argument)
{
	struct loop *loop = argument;
	uint64_t state = loop->seed;

	while (!atomic_load(&loop->pokes->stop))
		for (int i = 0; i < loop->count; i++)
			note(&loop->step[i], step_run(&loop->step[i], &state, loop->pokes->pages));
	return NULL;
}

/* Loops are apart by commas, the steps of one by semicolons. */
static int parse(struct pokes *pokes, char *text, uint64_t zram, struct reply *rep)
{
	char *rest = text, *words;

	while ((words = strtok_r(rest, ",", &rest))) {
		struct loop *loop = &pokes->loop[pokes->count];
		char *word;

		if (pokes->count == LOOPS_MAX)
			return reply_fail(rep, 0, "pokes: more than %d loops", LOOPS_MAX);
		while ((word = strtok_r(words, ";", &words))) {
			if (loop->count == STEPS_MAX)
				return reply_fail(rep, 0, "pokes: more than %d steps in a loop", STEPS_MAX);
			if (step_parse(&loop->step[loop->count], word, zram, rep))
				return -1;
			loop->count++;
		}
		loop->pokes = pokes;
		loop->seed = (uint64_t)pokes->count + 1;
		pokes->count += loop->count > 0;
	}
	return 0;
}

int pokes_start(struct pokes *pokes, const struct request *req, uint64_t pages, struct reply *rep)
{
	char text[LINE_BYTES];

	snprintf(text, sizeof(text), "%s", arg_text(req, "pokes", ""));
	pokes->pages = pages;
	if (parse(pokes, text, arg_number(req, "zram", 0), rep))
		return -1;
	for (; pokes->running < pokes->count; pokes->running++) {
		struct loop *loop = &pokes->loop[pokes->running];
		int error = pthread_create(&loop->thread, NULL, repeat, loop);

		if (error)
			return reply_fail(rep, error, "start a thread that pokes");
	}
	return 0;
}

void pokes_stop(struct pokes *pokes)
{
	atomic_store(&pokes->stop, true);
	while (pokes->running)
		pthread_join(pokes->loop[--pokes->running].thread, NULL);
}

void reply_pokes(struct reply *rep, const struct pokes *pokes)
{
	reply_open(rep, "pokes", '[');
	for (int i = 0; i < pokes->count; i++) {
		for (int k = 0; k < pokes->loop[i].count; k++) {
			const struct step *step = &pokes->loop[i].step[k];

			reply_open(rep, NULL, '{');
			reply_text(rep, "step", step->text);
			reply_u64(rep, "done", step->done);
			reply_open(rep, "refused", '{');
			for (int e = 0; e < ERRNOS_MAX && step->refused[e].errnum; e++)
				reply_u64(rep, errno_name(step->refused[e].errnum), step->refused[e].count);
			reply_close(rep, '{');
			reply_close(rep, '{');
		}
	}
	reply_close(rep, '[');
}

int cmd_poke(const struct request *req, struct reply *rep)
{
	uint64_t seconds = arg_number(req, "duration_s", 0);
	SCOPED_POKES pokes = { 0 };

	if (!seconds || seconds > SECONDS_MAX)
		return reply_fail(rep, 0, "duration_s=%llu: expected 1 to %d", (unsigned long long)seconds,
				  SECONDS_MAX);
	if (pokes_start(&pokes, req, arg_number(req, "pages", 0), rep))
		return -1;
	sleep_ms((unsigned int)seconds * 1000);
	pokes_stop(&pokes);
	reply_pokes(rep, &pokes);
	return 0;
}

/* One step in a thread of its own, with its times. */
struct timed_step {
	struct step step;
	pthread_t thread;
	bool running;
	atomic_bool ended;
	uint64_t began_ns, ended_ns;
	int error;
};

static void *run_timed(void *argument)
{
	struct timed_step *timed = argument;
	uint64_t state = 1;

	timed->began_ns = now_ns(CLOCK_MONOTONIC);
	timed->error = step_run(&timed->step, &state, 0);
	timed->ended_ns = now_ns(CLOCK_MONOTONIC);
	atomic_store(&timed->ended, true);
	return NULL;
}

struct meanwhile {
	struct timed_step first, other[OTHERS_MAX];
	int count;
};

static void join(struct timed_step *timed)
{
	if (timed->running)
		pthread_join(timed->thread, NULL);
	timed->running = false;
}

static void meanwhile_join(struct meanwhile *all)
{
	join(&all->first);
	for (int i = 0; i < all->count; i++)
		join(&all->other[i]);
}

static int begin_step(struct timed_step *timed, struct reply *rep)
{
	int error = pthread_create(&timed->thread, NULL, run_timed, timed);

	if (error)
		return reply_fail(rep, error, "start a thread for %s", timed->step.text);
	timed->running = true;
	return 0;
}

static int parse_others(struct meanwhile *all, const struct request *req, uint64_t zram, struct reply *rep)
{
	char text[LINE_BYTES], *rest = text, *word;

	snprintf(text, sizeof(text), "%s", arg_text(req, "others", ""));
	for (; (word = strtok_r(rest, ",", &rest)); all->count++) {
		if (all->count == OTHERS_MAX)
			return reply_fail(rep, 0, "others: more than %d", OTHERS_MAX);
		if (step_parse(&all->other[all->count].step, word, zram, rep))
			return -1;
	}
	return 0;
}

static void reply_timed(struct reply *rep, const char *key, const struct timed_step *timed)
{
	reply_open(rep, key, '{');
	reply_text(rep, "step", timed->step.text);
	reply_u64(rep, "began_ns", timed->began_ns);
	reply_u64(rep, "ended_ns", timed->ended_ns);
	reply_text(rep, "errno", errno_name(timed->error));
	reply_close(rep, '{');
}

/* The first step is under way once the disk is at work. */
static int wait_for_work(const struct timed_step *first, int disk, const struct blockstat *before, struct reply *rep)
{
	struct blockstat now = *before;

	while (!atomic_load(&first->ended) && !now.in_flight && now.writes == before->writes)
		if (blockstat_read(disk, &now))
			return reply_fail(rep, errno, "the counters of the backing device");
	return 0;
}

int cmd_meanwhile(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(meanwhile_join))) struct meanwhile all = { 0 };
	uint64_t zram = arg_number(req, "zram", 0);
	struct blockstat before;
	bool under_way;

	if (step_parse(&all.first.step, arg_text(req, "first", ""), zram, rep) || parse_others(&all, req, zram, rep))
		return -1;
	SCOPED_FD disk = blockstat_open(arg_text(req, "disk", ""), rep);
	if (disk < 0)
		return -1;
	if (blockstat_settled(disk, &before))
		return reply_fail(rep, errno, "the counters of the backing device");
	if (begin_step(&all.first, rep) || wait_for_work(&all.first, disk, &before, rep))
		return -1;
	under_way = !atomic_load(&all.first.ended);
	for (int i = 0; i < all.count; i++)
		if (begin_step(&all.other[i], rep))
			return -1;
	meanwhile_join(&all);
	reply_u64(rep, "under_way", under_way);
	reply_timed(rep, "first", &all.first);
	reply_open(rep, "others", '[');
	for (int i = 0; i < all.count; i++)
		reply_timed(rep, NULL, &all.other[i]);
	reply_close(rep, '[');
	return 0;
}
