// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockstat.h"
#include "system.h"

enum {
	/* Kernels since 4.0 have all of these; newer ones add more. */
	READS = 0,
	READ_SECTORS = 2,
	WRITES = 4,
	WRITES_MERGED = 5,
	WRITTEN_SECTORS = 6,
	IN_FLIGHT = 8,
	TIME_IN_QUEUE = 10,
	COLUMNS = 11,
	/* Others may keep a disk busy for ever. */
	SETTLE_TRIES = 250,
	SETTLE_MS = 2,
};

int blockstat_open(const char *disk, struct reply *rep)
{
	char path[PATH_BYTES];
	int fd;

	if (strchr(disk, '/') || disk[0] == '.')
		return reply_fail(rep, 0, "%s: not the name of a disk", disk);
	snprintf(path, sizeof(path), "/sys/class/block/%s/stat", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? reply_fail(rep, errno, "open %s", path) : fd;
}

int blockstat_read(int fd, struct blockstat *stat)
{
	uint64_t column[COLUMNS];
	char text[256], *at = text, *end;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -1;
	text[n] = '\0';
	for (int i = 0; i < COLUMNS; i++, at = end) {
		column[i] = strtoull(at, &end, 10);
		if (end == at) {
			errno = ENODATA;
			return -1;
		}
	}
	*stat = (struct blockstat){
		.reads = column[READS],
		.read_sectors = column[READ_SECTORS],
		.writes = column[WRITES],
		.writes_merged = column[WRITES_MERGED],
		.written_sectors = column[WRITTEN_SECTORS],
		.in_flight = column[IN_FLIGHT],
		.time_in_queue_ms = column[TIME_IN_QUEUE],
	};
	return 0;
}

int blockstat_settled(int fd, struct blockstat *stat)
{
	uint64_t before = UINT64_MAX;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		if (blockstat_read(fd, stat))
			return -1;
		/* Before 6.16 a request leaves the count of those in flight a moment before it is counted as done. */
		if (!stat->in_flight && stat->reads + stat->writes == before)
			break;
		before = stat->in_flight ? UINT64_MAX : stat->reads + stat->writes;
		sleep_ms(SETTLE_MS);
	}
	return 0;
}

struct blockstat blockstat_of(const char *disk)
{
	struct blockstat stat = { 0 };
	struct reply unused;

	reply_init(&unused, NULL);
	SCOPED_FD fd = blockstat_open(disk, &unused);
	if (fd < 0 || blockstat_read(fd, &stat))
		return (struct blockstat){ 0 };
	return stat;
}
