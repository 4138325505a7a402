/* SPDX-License-Identifier: Apache-2.0 */
// The event log: a line per event, which logcat reads and formats: seconds.milliseconds pid tag [field,field,...].
#pragma once

#include "text.h"

#define EVENT_LOG "/dev/logd/events"

enum { EVENT_LOG_BYTES = 256 * 1024, LOCK_EXCLUSIVE = 2 };

// The older half goes, so that the log stays within its size, as logd's ring does.
static inline void make_room(long fd)
{
	static char kept[EVENT_LOG_BYTES / 2 + 1];
	long size = KERNEL(SYS_lseek, fd, 0, 2);
	if (size < EVENT_LOG_BYTES)
		return;
	KERNEL(SYS_lseek, fd, size - (long)sizeof kept + 1, 0);
	long got = KERNEL(SYS_read, fd, kept, sizeof kept - 1);
	const char *line = got > 0 ? find(kept, "\n") : 0;
	KERNEL(SYS_ftruncate, fd, 0, 0);
	if (line)
		KERNEL(SYS_write, fd, line + 1, kept + got - line - 1);
}

static inline void log_event(const char *tag, const struct text *fields)
{
	long fd = KERNEL(SYS_open, EVENT_LOG, O_READ_WRITE | O_APPEND | O_CLOSE_ON_EXEC, 0), now = clock_ms(CLOCK_WALL);
	if (fd < 0)
		return;
	struct text line = { 0 };
	put(put_padded(put(put_number(&line, now / 1000), "."), now % 1000, 3), " ");
	put(put(put_number(&line, KERNEL(SYS_getpid, 0, 0, 0)), " "), tag);
	put(put(put(&line, " ["), fields->is), "]\n");
	KERNEL(SYS_flock, fd, LOCK_EXCLUSIVE, 0);
	make_room(fd);
	say((int)fd, &line);
	KERNEL(SYS_close, fd, 0, 0);
}
