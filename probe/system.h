/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, result files, costs and zram's counters, as every command needs them. */
#ifndef PROBE_SYSTEM_H
#define PROBE_SYSTEM_H

#include <sys/resource.h>

#include "probe.h"

size_t page_bytes(void);

/*
 * Memory of the probe's own that is present and, where the process may lock memory, stays present. A measured area is
 * never made with it. Counts may come from a request: more than there can be is ENOMEM, also where size_t has 32 bits.
 */
struct buffer {
	void *data;
	size_t bytes;
};
int buffer_make(struct buffer *buf, uint64_t count, size_t each, struct reply *rep);
void buffer_free(struct buffer *buf);
#define SCOPED_BUFFER __attribute__((cleanup(buffer_free))) struct buffer

/* Writes a result file for the host to pull, readable by the shell user; nothing is left of one that failed. */
int write_out(const char *path, const void *data, size_t bytes, struct reply *rep);

/* What a stretch of work cost its thread. */
struct cost {
	uint64_t wall_ns, user_ns, sys_ns;
	int64_t majflt, minflt, nvcsw, nivcsw;
};
void cost_start(struct cost *cost);
void cost_stop(struct cost *cost);

/* bd_stat of /sys/block/zramN: blocks in use, reads, writes, in units of 4 KiB. Fails if the kernel has none. */
int read_bd_stat(uint64_t zram, uint64_t bd[3], struct reply *rep);
void reply_bd(struct reply *rep, const char *key, const uint64_t bd[3]);

#endif
