/* SPDX-License-Identifier: Apache-2.0 */
// What CachedAppOptimizer does to a frozen app: MADV_PAGEOUT on its memory, through a pidfd.
#pragma once

#include "activity.h"

enum { MADV_PAGEOUT = 21, PR_SET_NAME = 15 };

static char *own_name; // argv[0] of system_server, long enough for this name

struct range {
	unsigned long start, size;
};

static unsigned long hex(const char **text)
{
	unsigned long value = 0;
	for (;; ++*text) {
		char c = **text;
		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned long)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (unsigned long)(c - 'a') + 10;
		else
			return value;
	}
}

// Never returns: it is a process of its own, which a thaw ends. Takes megabytes at a time, so that it ends soon.
_Noreturn static void page_out(int pid)
{
	static char maps[64 * 1024];
	enum { PIECE = 4 << 20 };
	// Nobody is to take it for its parent.
	static const char name[] = "compaction";
	memset(own_name, 0, length(own_name));
	memcpy(own_name, name, sizeof name);
	KERNEL(SYS_prctl, PR_SET_NAME, name, 0);
	// Whoever waits for the end of am's output must not wait for this.
	KERNEL(SYS_close_range, 0, ~0U, 0);
	long fd = KERNEL(SYS_pidfd_open, pid, 0, 0);
	if (fd < 0 || read_process(pid, "maps", maps, sizeof maps) <= 0)
		leave(1);
	for (const char *line = maps; line && *line; line = find(line, "\n"), line += line != 0) {
		unsigned long start = hex(&line), end = (line++, hex(&line));
		if (line[4] != 'p' && line[4] != 's')
			continue;
		for (; start < end; start += PIECE) {
			struct range range = { start, end - start < PIECE ? end - start : PIECE };
			kernel(SYS_process_madvise, fd, (long)&range, 1, MADV_PAGEOUT, 0, 0);
		}
	}
	leave(0);
}
