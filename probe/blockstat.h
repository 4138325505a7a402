/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a block device counts: /sys/class/block/NAME/stat, Documentation/block/stat.rst. Unlike zram's own counters,
 * which wait for it since 7.0, these can be read while a writeback runs.
 */
#ifndef PROBE_BLOCKSTAT_H
#define PROBE_BLOCKSTAT_H

#include "probe.h"

enum { SECTOR_BYTES = 512 };

struct blockstat {
	uint64_t reads, read_sectors; /* completed */
	uint64_t writes, writes_merged, written_sectors;
	uint64_t in_flight;
	uint64_t time_in_queue_ms;
};

/* A descriptor to read the counters of a disk from again and again; -1 after a failure. */
int blockstat_open(const char *disk, struct reply *rep);
/* 0, or -1 with errno. */
int blockstat_read(int fd, struct blockstat *stat);
/* The counters once nothing is in flight; of a disk that others keep busy, as they are after half a second. */
int blockstat_settled(int fd, struct blockstat *stat);
/* Once, by name; all zero for a disk that is not there. */
struct blockstat blockstat_of(const char *disk);

#endif
