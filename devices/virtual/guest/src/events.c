// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "events.h"
#include "guest.h"

#define EVENT_LOG "/dev/logd/events"

enum { EVENT_LOG_BYTES = 256 * 1024 };

/* The older half goes, so that the log stays within its size, as logd's ring does. */
static void make_room(int fd)
{
	static char kept[EVENT_LOG_BYTES / 2 + 1];
	off_t size = lseek(fd, 0, SEEK_END);
	const char *line;
	ssize_t got;

	if (size < EVENT_LOG_BYTES)
		return;
	lseek(fd, size - (off_t)sizeof(kept) + 1, SEEK_SET);
	got = read(fd, kept, sizeof(kept) - 1);
	line = got > 0 ? memchr(kept, '\n', (size_t)got) : NULL;
	if (ftruncate(fd, 0) || !line)
		return;
	line++;
	write(fd, line, (size_t)(kept + got - line));
}

void log_event(const char *tag, const char *format, ...)
{
	SCOPED_FD fd = open(EVENT_LOG, O_RDWR | O_APPEND | O_CLOEXEC);
	long long now = clock_ms(CLOCK_REALTIME);
	struct text fields = { 0 };
	va_list args;

	if (fd < 0)
		return;
	va_start(args, format);
	vsnprintf(fields.is, sizeof(fields.is), format, args);
	va_end(args);
	flock(fd, LOCK_EX);
	make_room(fd);
	say(fd, "%lld.%03lld %d %s [%s]\n", now / 1000, now % 1000, (int)getpid(), tag, fields.is);
}
