// SPDX-License-Identifier: Apache-2.0
/*
 * Background load, so that a measurement can be made on a busy phone: CPU time on every core, or I/O on a file of ours.
 * It is bounded in time and in bytes, and ends with the probe.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "content.h"
#include "load.h"
#include "syscalls.h"
#include "system.h"

enum {
	THREADS_MAX = 64,
	SECONDS_MAX = 3600,
	READ_BYTES = 4096,
	WRITE_BYTES = 512 * 1024,
};

enum load_kind { LOAD_CPU, LOAD_RANDOM_READ, LOAD_SEQUENTIAL_WRITE };

/* One at a time; its threads share it. */
static struct load {
	enum load_kind kind;
	char path[PATH_BYTES];
	int count;
	pthread_t thread[THREADS_MAX];
	atomic_bool stop;
	atomic_int failed;
	uint64_t deadline_ns, file_bytes, most_bytes, bytes_per_s;
	uint64_t share_bytes; /* of the file: how far apart the threads begin to write */
	_Atomic uint64_t bytes, operations, cpu_ns;
} load;

static bool over(void)
{
	return atomic_load(&load.stop) || atomic_load(&load.failed) || now_ns(CLOCK_MONOTONIC) >= load.deadline_ns ||
	       (load.most_bytes && atomic_load(&load.bytes) >= load.most_bytes);
}

static void burn(uint64_t seed)
{
	/* A page's worth of work between two looks at the clock. */
	while (!over())
		for (int i = 0; i < 100000; i++)
			splitmix64(&seed);
	atomic_fetch_add(&load.operations, seed & 1);
}

static void count_io(ssize_t n)
{
	if (n <= 0) {
		atomic_store(&load.failed, n < 0 ? errno : EIO);
		return;
	}
	atomic_fetch_add(&load.bytes, (uint64_t)n);
	atomic_fetch_add(&load.operations, 1);
}

static void read_randomly(int fd, void *data, uint64_t seed)
{
	while (!over())
		count_io(pread(fd, data, READ_BYTES,
			       (off_t)(splitmix64(&seed) % (load.file_bytes / READ_BYTES) * READ_BYTES)));
}

/* Not faster than asked for: flash wears, and what a phone could write in a minute nobody has to write. */
static void keep_rate(uint64_t begin_ns, uint64_t done)
{
	while (load.bytes_per_s && !over() &&
	       done > (now_ns(CLOCK_MONOTONIC) - begin_ns) / 1000 * load.bytes_per_s / 1000000)
		sleep_ms(1);
}

static void write_in_order(int fd, void *data, uint64_t start)
{
	uint64_t begin_ns = now_ns(CLOCK_MONOTONIC);

	for (uint64_t done = 0; !over(); done += WRITE_BYTES) {
		keep_rate(begin_ns, done);
		count_io(pwrite(fd, data, WRITE_BYTES, (off_t)((start + done) % load.file_bytes)));
	}
}

/* The thread's buffer and descriptor are its own; both go with it. */
static void do_io(uint64_t number)
{
	struct reply ignored;
	SCOPED_BUFFER data = { 0 };
	SCOPED_FD fd = open(load.path, O_RDWR | O_DIRECT | O_CLOEXEC);

	reply_init(&ignored, NULL);
	if (fd < 0 || buffer_make(&data, WRITE_BYTES, 1, &ignored)) {
		atomic_store(&load.failed, errno ? errno : ENOMEM);
		return;
	}
	memset(data.data, (int)number + 1, WRITE_BYTES);
	if (load.kind == LOAD_RANDOM_READ)
		read_randomly(fd, data.data, number);
	else
		write_in_order(fd, data.data, load.share_bytes * number / WRITE_BYTES * WRITE_BYTES);
}

static void *work(void *argument)
{
	uint64_t number = (uintptr_t)argument;

	if (load.kind == LOAD_CPU)
		burn(number);
	else
		do_io(number);
	atomic_fetch_add(&load.cpu_ns, now_ns(CLOCK_THREAD_CPUTIME_ID));
	return NULL;
}

static void join_all(void)
{
	atomic_store(&load.stop, true);
	for (int i = 0; i < load.count; i++)
		pthread_join(load.thread[i], NULL);
	load.count = 0;
}

/* A file whose blocks are all there and written: what was never written is answered without the storage. */
static int make_file(uint64_t bytes, struct reply *rep)
{
	SCOPED_FD fd = open(load.path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	SCOPED_BUFFER data = { 0 };
	uint64_t seed = 1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return reply_fail(rep, errno, "open %s", load.path);
	if ((uint64_t)st.st_size == bytes)
		return 0;
	if (buffer_make(&data, WRITE_BYTES, 1, rep))
		return -1;
	for (size_t i = 0; i < WRITE_BYTES / sizeof(uint64_t); i++)
		((uint64_t *)data.data)[i] = splitmix64(&seed);
	for (uint64_t at = 0; at < bytes; at += WRITE_BYTES)
		if (pwrite(fd, data.data, WRITE_BYTES, (off_t)at) != WRITE_BYTES)
			return reply_fail(rep, errno ? errno : ENOSPC, "write %s", load.path);
	return ftruncate(fd, (off_t)bytes) || fsync(fd) ? reply_fail(rep, errno, "sync %s", load.path) : 0;
}

static int prepare(const struct request *req, struct reply *rep)
{
	const char *kind = arg_text(req, "kind", ""), *path = arg_text(req, "file", "");
	uint64_t seconds = arg_number(req, "limit_s", 0), size = arg_number(req, "size", 0);

	load.kind = !strcmp(kind, "cpu")	 ? LOAD_CPU :
		    !strcmp(kind, "random_read") ? LOAD_RANDOM_READ :
						   LOAD_SEQUENTIAL_WRITE;
	if (!seconds || seconds > SECONDS_MAX)
		return reply_fail(rep, 0, "limit_s=%llu: expected 1 to %d", (unsigned long long)seconds, SECONDS_MAX);
	atomic_store(&load.stop, false);
	atomic_store(&load.failed, 0);
	atomic_store(&load.bytes, 0);
	atomic_store(&load.operations, 0);
	atomic_store(&load.cpu_ns, 0);
	load.most_bytes = arg_number(req, "bytes", 0);
	load.file_bytes = size;
	load.bytes_per_s = arg_number(req, "rate", 0);
	if (load.kind != LOAD_CPU) {
		if (*path != '/' || strlen(path) >= sizeof(load.path))
			return reply_fail(rep, 0, "file=%s: expected an absolute path", path);
		if (!load.most_bytes || !size || size % WRITE_BYTES)
			return reply_fail(rep, 0, "I/O needs bytes=, a bound, and size=, a multiple of %d",
					  WRITE_BYTES);
		strcpy(load.path, path);
		if (make_file(size, rep))
			return -1;
	}
	load.deadline_ns = now_ns(CLOCK_MONOTONIC) + seconds * 1000000000u;
	return 0;
}

int cmd_load_start(const struct request *req, struct reply *rep)
{
	uint64_t threads = arg_number(req, "threads", 1);

	if (load.count)
		return reply_fail(rep, EBUSY, "a load is running");
	if (!threads || threads > THREADS_MAX)
		return reply_fail(rep, 0, "threads=%llu: expected 1 to %d", (unsigned long long)threads, THREADS_MAX);
	if (prepare(req, rep))
		return -1;
	/* Not by count, which is not there yet when the first thread runs. */
	load.share_bytes = load.file_bytes / threads;
	for (uint64_t i = 0; i < threads; i++) {
		int error = pthread_create(&load.thread[i], NULL, work, (void *)(uintptr_t)i);

		if (error) {
			join_all();
			return reply_fail(rep, error, "start a thread of load");
		}
		load.count++;
	}
	return 0;
}

/* What it did until now; a load that ended before it was stopped, or failed, says so. */
int cmd_load_stop(const struct request *req, struct reply *rep)
{
	bool ended;
	int failed;

	(void)req;
	if (!load.count)
		return reply_fail(rep, 0, "no load is running");
	ended = over();
	failed = atomic_load(&load.failed);
	join_all();
	reply_u64(rep, "bytes", atomic_load(&load.bytes));
	reply_u64(rep, "operations", atomic_load(&load.operations));
	reply_u64(rep, "cpu_ns", atomic_load(&load.cpu_ns));
	reply_u64(rep, "ended_early", ended);
	if (failed)
		return reply_fail(rep, failed, "load on %s", load.path);
	return 0;
}

int io_class_set(const char *name, struct reply *rep)
{
	int class = strcmp(name, "realtime") ? IOPRIO_CLASS_NONE : IOPRIO_CLASS_RT;

	if (ioprio_set_self(IOPRIO_PRIO_VALUE(class, 0)))
		return reply_fail(rep, errno, "ioprio_set %s", name);
	return 0;
}
