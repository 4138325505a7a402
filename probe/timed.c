// SPDX-License-Identifier: Apache-2.0
/* One write to a sysfs attribute with what it cost, and what zram's books say before and after. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "accounting.h"
#include "pokes.h"
#include "watch.h"

enum {
	MM_STATS = 9,
};

/* Documentation/admin-guide/blockdev/zram.rst; the last ones came later than the first. */
static const char *const mm_names[MM_STATS] = {
	"orig_data_size", "compr_data_size", "mem_used_total", "mem_limit",	   "mem_used_max",
	"same_pages",	  "pages_compacted", "huge_pages",     "huge_pages_since",
};

struct books {
	uint64_t bd[3];
	uint64_t mm[MM_STATS];
	int mm_count;
};

static int read_books(struct books *books, uint64_t zram, struct reply *rep)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "/sys/block/zram%llu/mm_stat", (unsigned long long)zram);
	books->mm_count = read_numbers(path, books->mm, MM_STATS);
	if (books->mm_count < 0)
		return reply_fail(rep, errno, "read %s", path);
	return read_bd_stat(zram, books->bd, rep);
}

static void reply_books(struct reply *rep, const char *bd_key, const char *mm_key, const struct books *books)
{
	reply_bd(rep, bd_key, books->bd);
	reply_open(rep, mm_key, '{');
	for (int i = 0; i < books->mm_count; i++)
		reply_u64(rep, mm_names[i], books->mm[i]);
	reply_close(rep, '{');
}

static void reply_cost(struct reply *rep, const struct cost *cost, uint64_t busy_ns)
{
	reply_u64(rep, "wall_ns", cost->wall_ns);
	reply_u64(rep, "user_ns", cost->user_ns);
	reply_u64(rep, "sys_ns", cost->sys_ns);
	reply_u64(rep, "cpu_busy_ns", busy_ns);
	reply_i64(rep, "nvcsw", cost->nvcsw);
	reply_i64(rep, "nivcsw", cost->nivcsw);
}

/*
 * bd_stat and mm_stat are only read before and after: since 7.0 they wait until a running writeback ends. A refused
 * write is an answer, not a failure.
 */
int cmd_write_timed(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", ""), *value = arg_text(req, "value", "");
	uint64_t zram = arg_number(req, "zram", 0);
	struct cpu_time cpu_before, cpu_after;
	struct run_time run;
	bool with_books = arg_given(req, "zram");
	struct books before, after;
	SCOPED_WATCH watch = { 0 };
	struct cost cost;
	ssize_t rc;
	int error;

	if (check_harmless(path, value, rep))
		return -1;
	SCOPED_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	if ((with_books && read_books(&before, zram, rep)) || watch_start(&watch, req, rep) ||
	    cpu_time_read(&cpu_before, rep))
		return -1;
	if (with_books)
		run_time_start(&run);
	cost_start(&cost);
	rc = write(fd, value, strlen(value));
	error = rc < 0 ? errno : 0;
	cost_stop(&cost);
	if (with_books)
		run_time_stop(&run);
	if (cpu_time_read(&cpu_after, rep) || (with_books && read_books(&after, zram, rep)))
		return -1;
	reply_i64(rep, "rc", rc);
	reply_text(rep, "errno", errno_name(error));
	reply_cost(rep, &cost, cpu_after.busy_ns - cpu_before.busy_ns);
	if (with_books) {
		reply_told(rep, "writer_run_ns", run.writer);
		reply_told(rep, "kworkers_run_ns", run.kworkers);
		reply_told(rep, "cpus_run_ns", run.cpus);
		reply_books(rep, "bd_before", "mm_before", &before);
		reply_books(rep, "bd_after", "mm_after", &after);
	}
	return watch_stop(&watch, rep);
}
