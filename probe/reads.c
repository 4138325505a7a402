// SPDX-License-Identifier: Apache-2.0
/*
 * How long one read of a small file takes while zram writes back, a file that waits for the writeback above all; or one
 * write, of a file that can only be written. One thread writes the pages of an area back, so many in each write(2).
 * Each file has a thread that pauses for a random while and reads it, again and again. It pauses, as long as a
 * writeback at most, so that reads begin anywhere in one: a read that was held up to its end would else be followed by
 * one that begins with the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "slots.h"
#include "touch.h"

enum {
	FILES_MAX = 8,
	TEXT_BYTES = 16,
	READS_MAX = 1000000,
	PAUSE_MAX_US = 10 * 1000 * 1000,
	/* Labels: whether a writeback ran when the read began. */
	READ_ALONE = 0,
	READ_DURING = 1,
};

struct reader {
	struct reads *reads;
	pthread_t thread;
	int fd;
	char text[TEXT_BYTES]; /* what is written; empty: it is read */
	uint32_t which;
	uint64_t state;
	struct sample *sample;
	size_t taken, during;
	int error;
};

struct reads {
	struct slot_work work;
	struct buffer samples;
	int count;
	struct reader reader[FILES_MAX];
	uint64_t most, pause_us, seed;
	bool writes;
	int writeback_fd;
	/* of the thread that writes */
	atomic_bool written, in_call;
	_Atomic uint64_t call_ns; /* the last one; 0: none yet */
	uint64_t done, in_calls_ns;
	int error;
};

static void reads_free(struct reads *reads)
{
	slot_work_free(&reads->work);
	buffer_free(&reads->samples);
	for (int i = 0; i < reads->count; i++)
		close_scoped(&reads->reader[i].fd);
	close_scoped(&reads->writeback_fd);
}

static void write_back(struct reads *reads)
{
	while (!reads->error && reads->done < reads->work.count) {
		uint64_t begin_ns = now_ns(CLOCK_MONOTONIC), took_ns;

		atomic_store(&reads->in_call, true);
		reads->error = slot_work_write_one(&reads->work, reads->writeback_fd, &reads->done);
		atomic_store(&reads->in_call, false);
		took_ns = now_ns(CLOCK_MONOTONIC) - begin_ns;
		atomic_store(&reads->call_ns, took_ns);
		reads->in_calls_ns += took_ns;
	}
	atomic_store(&reads->written, true);
}

/* Opens the files of a list with commas between, PATH to be read and PATH=TEXT to be written. */
static int open_files(struct reads *reads, const char *list, struct reply *rep)
{
	char text[LINE_BYTES], *rest = text, *path, *written;

	snprintf(text, sizeof(text), "%s", list);
	while ((path = strsep(&rest, ","))) {
		struct reader *reader = &reads->reader[reads->count];

		if (reads->count == FILES_MAX)
			return reply_fail(rep, 0, "files: more than %d", FILES_MAX);
		*reader = (struct reader){ .reads = reads, .which = (uint32_t)reads->count };
		reader->state = reads->seed + reader->which;
		written = path;
		path = strsep(&written, "=");
		if (written && (!*written || strlen(written) >= sizeof(reader->text)))
			return reply_fail(rep, 0, "files: %s=, and 1 to %d bytes to be written", path, TEXT_BYTES - 1);
		if (written)
			strcpy(reader->text, written);
		reader->fd = open(path, (written ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
		if (reader->fd < 0)
			return reply_fail(rep, errno, "open %s", path);
		reads->count++;
	}
	return 0;
}

static int prepare(struct reads *reads, const struct request *req, uint64_t zram, struct reply *rep)
{
	struct area *area;
	char path[PATH_BYTES];

	reads->most = arg_number(req, "reads", 0);
	reads->pause_us = arg_number(req, "pause_us", 0);
	reads->seed = arg_number(req, "seed", 0);
	reads->writes = strcmp(arg_text(req, "writer", "write"), "none") != 0;
	reads->work.most_pages = arg_number(req, "call_pages", 0);
	if (!reads->most || reads->most > READS_MAX || reads->pause_us > PAUSE_MAX_US || !reads->work.most_pages)
		return reply_fail(rep, 0, "expected reads=1 to %d, pause_us= to %d, and call_pages= from 1", READS_MAX,
				  PAUSE_MAX_US);
	area = area_named(req, rep);
	if (!area || open_files(reads, arg_text(req, "files", ""), rep) ||
	    slot_work_find(&reads->work, area, zram, rep) || slot_work_sort(&reads->work, rep) ||
	    buffer_make(&reads->samples, reads->most * (uint64_t)reads->count, sizeof(struct sample), rep))
		return -1;
	for (int i = 0; i < reads->count; i++)
		reads->reader[i].sample = (struct sample *)reads->samples.data + reads->most * (uint64_t)i;
	reads->work.grammar = strcmp(arg_text(req, "grammar", ""), "page_index") ? GRAMMAR_SEVERAL : GRAMMAR_SINGLE;
	snprintf(path, sizeof(path), "/sys/block/zram%llu/writeback", (unsigned long long)zram);
	reads->writeback_fd = open(path, O_WRONLY | O_CLOEXEC);
	return reads->writeback_fd < 0 ? reply_fail(rep, errno, "open %s", path) : 0;
}

static void pause_randomly(struct reader *reader)
{
	const struct reads *reads = reader->reads;
	uint64_t call_us = atomic_load(&reads->call_ns) / 1000, most_us = call_us ? call_us : reads->pause_us;
	uint64_t us = splitmix64(&reader->state) % ((most_us < PAUSE_MAX_US ? most_us : PAUSE_MAX_US) + 1);
	struct timespec ts = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static int read_one(struct reader *reader)
{
	bool during = atomic_load(&reader->reads->in_call);
	uint64_t begin_ns = now_ns(CLOCK_MONOTONIC);
	size_t length = strlen(reader->text);
	char text[4096];

	if ((length ? pwrite(reader->fd, reader->text, length, 0) : pread(reader->fd, text, sizeof(text), 0)) < 0)
		return errno;
	reader->sample[reader->taken++] = (struct sample){ .t_ns = begin_ns,
							   .ns = now_ns(CLOCK_MONOTONIC) - begin_ns,
							   .page = reader->which,
							   .label = during ? READ_DURING : READ_ALONE };
	reader->during += during;
	return 0;
}

static void *read_again(void *argument)
{
	struct reader *reader = argument;
	struct reads *reads = reader->reads;

	while (!reader->error && reader->taken < reads->most && !atomic_load(&reads->written)) {
		pause_randomly(reader);
		if (!atomic_load(&reads->written))
			reader->error = read_one(reader);
	}
	return NULL;
}

/* Ends with the writeback, or with the last read where nothing is written. */
static int run(struct reads *reads, struct reply *rep)
{
	int started = 0, error = 0, failed = 0;

	while (!error && started < reads->count) {
		struct reader *reader = &reads->reader[started];

		error = pthread_create(&reader->thread, NULL, read_again, reader);
		started += !error;
	}
	if (!error && reads->writes)
		write_back(reads);
	if (error)
		atomic_store(&reads->written, true);
	for (int i = 0; i < started; i++) {
		pthread_join(reads->reader[i].thread, NULL);
		failed = failed ? failed : reads->reader[i].error;
	}
	if (error)
		return reply_fail(rep, error, "start a thread that reads");
	if (failed)
		return reply_fail(rep, failed, "read one of the files");
	return reads->error ? reply_fail(rep, reads->error, "writeback after %llu of %llu pages",
					 (unsigned long long)reads->done, (unsigned long long)reads->work.count) :
			      0;
}

/* What all readers took, one after the other without a gap. */
static void gather(struct reads *reads, size_t *taken, size_t *during)
{
	struct sample *sample = reads->samples.data;

	for (int i = 0; i < reads->count; i++) {
		memmove(sample + *taken, reads->reader[i].sample, reads->reader[i].taken * sizeof(*sample));
		*taken += reads->reader[i].taken;
		*during += reads->reader[i].during;
	}
}

int cmd_reads(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(reads_free))) struct reads reads = { .writeback_fd = -1 };
	uint64_t zram = arg_number(req, "zram", 0), before[3], after[3];
	size_t taken = 0, during = 0;

	if (prepare(&reads, req, zram, rep) || read_bd_stat(zram, before, rep) || run(&reads, rep) ||
	    read_bd_stat(zram, after, rep))
		return -1;
	gather(&reads, &taken, &during);
	reply_u64(rep, "samples", taken);
	reply_u64(rep, "during", during);
	reply_u64(rep, "pages", reads.done);
	reply_u64(rep, "calls", reads.work.calls);
	reply_u64(rep, "in_calls_ns", reads.in_calls_ns);
	reply_bd(rep, "bd_before", before);
	reply_bd(rep, "bd_after", after);
	return write_out(arg_text(req, "out", ""), reads.samples.data, taken * sizeof(struct sample), rep);
}
