// SPDX-License-Identifier: Apache-2.0
/* Has zram write back the slots that hold pages of an area, and no others. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "slots.h"

static enum grammar grammar_of(const struct request *req)
{
	const char *text = arg_text(req, "grammar", "auto");

	if (!strcmp(text, "page_indexes"))
		return GRAMMAR_SEVERAL;
	return strcmp(text, "page_index") ? GRAMMAR_AUTO : GRAMMAR_SINGLE;
}

static int write_back(struct slot_work *work, uint64_t zram, struct reply *rep)
{
	uint64_t before[3], after[3], done = 0;
	char path[PATH_BYTES];
	struct cost cost;
	int error;

	snprintf(path, sizeof(path), "/sys/block/zram%llu/writeback", (unsigned long long)zram);
	SCOPED_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	if (read_bd_stat(zram, before, rep))
		return -1;
	cost_start(&cost);
	error = slot_work_write(work, fd, &done);
	cost_stop(&cost);
	if (read_bd_stat(zram, after, rep))
		return -1;
	reply_u64(rep, "requested", work->count);
	reply_u64(rep, "accepted", done);
	reply_u64(rep, "written", (after[2] - before[2]) * ZRAM_UNIT / page_bytes());
	reply_u64(rep, "calls", work->calls);
	reply_text(rep, "grammar", work->grammar == GRAMMAR_SEVERAL ? "page_indexes" : "page_index");
	reply_u64(rep, "wall_ns", cost.wall_ns);
	reply_u64(rep, "user_ns", cost.user_ns);
	reply_u64(rep, "sys_ns", cost.sys_ns);
	reply_bd(rep, "bd_before", before);
	reply_bd(rep, "bd_after", after);
	if (error)
		return reply_fail(rep, error, "%s after %llu of %llu pages", path, (unsigned long long)done,
				  (unsigned long long)work->count);
	return 0;
}

int cmd_writeback(const struct request *req, struct reply *rep)
{
	uint64_t zram = arg_number(req, "zram", 0);
	SCOPED_SLOT_WORK work = { .grammar = grammar_of(req) };
	struct area *area = area_named(req, rep);

	if (!area || slot_work_find(&work, area, zram, rep) || slot_work_choose(&work, req, rep))
		return -1;
	if (strcmp(arg_text(req, "order", "random"), "random") && slot_work_sort(&work, rep))
		return -1;
	return write_back(&work, zram, rep);
}
