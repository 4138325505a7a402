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
	/* Often enough to meet a depth that lasts a request's time, without taking a CPU for itself. */
	PAUSE_NS = 50000,
};

static int read_settled(const struct watched *disk, struct blockstat *stat, struct reply *rep)
{
	if (blockstat_settled(disk->stat, stat))
		return reply_fail(rep, errno, "the counters of %s", disk->name);
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
			int64_t depth = writes_in_flight(watch->disk[i].inflight);

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
	if (strlen(name) >= sizeof(disk->name))
		return reply_fail(rep, 0, "disks=%s: longer than any name of a disk", name);
	strcpy(disk->name, name);
	disk->stat = blockstat_open(name, rep);
	if (disk->stat < 0)
		return -1;
	snprintf(path, sizeof(path), "/sys/class/block/%s/inflight", name);
	disk->inflight = open(path, O_RDONLY | O_CLOEXEC);
	watch->count++;
	if (disk->inflight < 0)
		return reply_fail(rep, errno, "open %s", path);
	return read_settled(disk, &disk->before, rep);
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
		struct blockstat now;

		if (read_settled(disk, &now, rep))
			return -1;
		reply_open(rep, disk->name, '{');
		reply_u64(rep, "reads", now.reads - disk->before.reads);
		reply_u64(rep, "writes", now.writes - disk->before.writes);
		reply_u64(rep, "writes_merged", now.writes_merged - disk->before.writes_merged);
		reply_u64(rep, "written_bytes", (now.written_sectors - disk->before.written_sectors) * SECTOR_BYTES);
		reply_u64(rep, "time_in_queue_ms", now.time_in_queue_ms - disk->before.time_in_queue_ms);
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
	for (int i = 0; i < watch->count; i++) {
		close_scoped(&watch->disk[i].inflight);
		close_scoped(&watch->disk[i].stat);
	}
}
