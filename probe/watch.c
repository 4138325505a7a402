// SPDX-License-Identifier: Apache-2.0
/* What disks say of themselves while something runs: their counters before and after, and their depth in between. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

enum {
	/* Documentation/block/stat.rst; kernels since 4.0 have all of these columns. */
	STAT_READS = 0,
	STAT_WRITES = 4,
	STAT_WRITE_SECTORS = 6,
	STAT_TIME_IN_QUEUE = 10,
	STAT_COLUMNS = 11,
	/* The kernel counts a request just after it woke who waited for it. */
	SETTLE_TRIES = 20,
	/* Often enough to meet a depth that lasts a request's time, without taking a CPU for itself. */
	PAUSE_NS = 50000,
};

static int read_stat(const struct watched *disk, uint64_t stat[STAT_COLUMNS], struct reply *rep)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "/sys/class/block/%s/stat", disk->name);
	if (read_numbers(path, stat, STAT_COLUMNS) == STAT_COLUMNS)
		return 0;
	return reply_fail(rep, errno, "%s: not the counters of a disk", path);
}

/* The counters once they stand still; of a disk that others use, as they are after a while. */
static int read_settled(const struct watched *disk, uint64_t stat[STAT_COLUMNS], struct reply *rep)
{
	uint64_t before = UINT64_MAX;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		if (read_stat(disk, stat, rep))
			return -1;
		if (stat[STAT_READS] + stat[STAT_WRITES] == before)
			break;
		before = stat[STAT_READS] + stat[STAT_WRITES];
		sleep_ms(2);
	}
	return 0;
}

/* "reads writes" in flight now, without a path look-up each time. */
static int64_t writes_in_flight(int fd)
{
	unsigned int reads, writes;
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return -1;
	text[n] = '\0';
	return sscanf(text, "%u %u", &reads, &writes) == 2 ? (int64_t)writes : -1;
}

static void *sample(void *argument)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct watch *watch = argument;

	while (!atomic_load(&watch->stop)) {
		for (int i = 0; i < watch->count; i++) {
			int64_t depth = writes_in_flight(watch->disk[i].fd);

			if (depth > watch->disk[i].deepest)
				watch->disk[i].deepest = depth;
		}
		watch->samples++;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static int add_disk(struct watch *watch, const char *name, struct reply *rep)
{
	struct watched *disk = &watch->disk[watch->count];
	char path[PATH_BYTES];

	if (watch->count == WATCHED_MAX)
		return reply_fail(rep, 0, "disks: more than %d", WATCHED_MAX);
	if (strlen(name) >= sizeof(disk->name) || strchr(name, '/') || name[0] == '.')
		return reply_fail(rep, 0, "disks=%s: not the name of a disk", name);
	strcpy(disk->name, name);
	snprintf(path, sizeof(path), "/sys/class/block/%s/inflight", name);
	disk->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (disk->fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	watch->count++;
	return read_settled(disk, disk->before, rep);
}

int watch_start(struct watch *watch, const struct request *req, struct reply *rep)
{
	char names[PATH_BYTES], *rest = names, *name;
	int error;

	snprintf(names, sizeof(names), "%s", arg_text(req, "disks", ""));
	while ((name = strtok_r(rest, ",", &rest)))
		if (add_disk(watch, name, rep))
			return -1;
	if (!arg_number(req, "sample", 0) || !watch->count)
		return 0;
	error = pthread_create(&watch->thread, NULL, sample, watch);
	if (error)
		return reply_fail(rep, error, "start the thread that samples");
	watch->sampling = true;
	return 0;
}

static void stop_sampling(struct watch *watch)
{
	if (!watch->sampling)
		return;
	atomic_store(&watch->stop, true);
	pthread_join(watch->thread, NULL);
	watch->sampling = false;
}

int watch_stop(struct watch *watch, struct reply *rep)
{
	bool sampled = watch->sampling;

	stop_sampling(watch);
	if (!watch->count)
		return 0;
	reply_open(rep, "disks", '{');
	for (int i = 0; i < watch->count; i++) {
		struct watched *disk = &watch->disk[i];
		uint64_t now[STAT_COLUMNS];

		if (read_settled(disk, now, rep))
			return -1;
		reply_open(rep, disk->name, '{');
		reply_u64(rep, "reads", now[STAT_READS] - disk->before[STAT_READS]);
		reply_u64(rep, "writes", now[STAT_WRITES] - disk->before[STAT_WRITES]);
		reply_u64(rep, "written_bytes", (now[STAT_WRITE_SECTORS] - disk->before[STAT_WRITE_SECTORS]) * 512);
		reply_u64(rep, "time_in_queue_ms", now[STAT_TIME_IN_QUEUE] - disk->before[STAT_TIME_IN_QUEUE]);
		if (sampled) {
			reply_i64(rep, "deepest", disk->deepest);
			reply_u64(rep, "samples", watch->samples);
		}
		reply_close(rep, '{');
	}
	reply_close(rep, '{');
	return 0;
}

void watch_free(struct watch *watch)
{
	stop_sampling(watch);
	for (int i = 0; i < watch->count; i++)
		close_scoped(&watch->disk[i].fd);
}
