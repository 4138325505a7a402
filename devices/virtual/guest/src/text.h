/* SPDX-License-Identifier: Apache-2.0 */
// Text and small files, for programs without a C library.
#pragma once

#include "kernel.h"

enum {
	O_READ = 0,
	O_WRITE = 1,
	O_READ_WRITE = 2,
	O_CREATE = 0100,
	O_TRUNCATE = 01000,
	O_APPEND = 02000,
	O_CLOSE_ON_EXEC = 02000000
};

// Text that grows up to the room it has; what does not fit is left out.
struct text {
	unsigned long used;
	char is[4096];
};

static inline struct text *put(struct text *text, const char *more)
{
	while (*more && text->used + 1 < sizeof text->is)
		text->is[text->used++] = *more++;
	text->is[text->used] = 0;
	return text;
}

static inline struct text *put_number(struct text *text, long value)
{
	char digits[24];
	int at = sizeof digits;
	unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
	digits[--at] = 0;
	do
		digits[--at] = '0' + (char)(rest % 10);
	while (rest /= 10);
	if (value < 0)
		digits[--at] = '-';
	return put(text, digits + at);
}

// With zeros in front, as in dates.
static inline struct text *put_padded(struct text *text, long value, int width)
{
	for (long limit = 10; width > 1; width--, limit *= 10) {
		if (value < limit)
			put(text, "0");
	}
	return put_number(text, value);
}

static inline long say(int fd, const struct text *text)
{
	return KERNEL(SYS_write, fd, text->is, text->used);
}

// `text` without what is in front of the first `what`, or 0.
static inline const char *find(const char *text, const char *what)
{
	for (; *text; text++) {
		unsigned long n = 0;
		while (what[n] && text[n] == what[n])
			n++;
		if (!what[n])
			return text;
	}
	return 0;
}

// The decimal number that `text` begins with after spaces; 0 if there is none.
static inline long leading_number(const char *text)
{
	long value = 0, sign = 1;
	while (*text == ' ' || *text == '\t')
		text++;
	if (*text == '-')
		sign = -1, text++;
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (*text - '0');
	return sign * value;
}

// Length of what was read (and ended with 0), or a negative error.
static inline long read_file(const char *path, char *into, unsigned long room)
{
	long fd = KERNEL(SYS_open, path, O_READ | O_CLOSE_ON_EXEC, 0), used = 0, got = 0;
	if (fd < 0)
		return fd;
	while (used + 1 < (long)room && (got = KERNEL(SYS_read, fd, into + used, room - 1 - used)) > 0)
		used += got;
	into[used] = 0;
	KERNEL(SYS_close, fd, 0, 0);
	return got < 0 ? got : used;
}

static inline long write_file(const char *path, const char *content)
{
	long fd = KERNEL(SYS_open, path, O_WRITE | O_CLOSE_ON_EXEC, 0);
	if (fd < 0)
		return fd;
	long done = KERNEL(SYS_write, fd, content, length(content));
	KERNEL(SYS_close, fd, 0, 0);
	return done;
}

// /proc/PID/NAME into `into`.
static inline long read_process(int pid, const char *name, char *into, unsigned long room)
{
	struct text path = { 0 };
	return read_file(put(put(put_number(put(&path, "/proc/"), pid), "/"), name)->is, into, room);
}

// Resident memory in KiB; 0 once the process is gone.
static inline long rss_kib(int pid)
{
	char statm[128];
	if (read_process(pid, "statm", statm, sizeof statm) <= 0)
		return 0;
	const char *second = find(statm, " ");
	return second ? leading_number(second) * 4 : 0;
}

static inline long clock_us(int clock)
{
	long time[2];
	KERNEL(SYS_clock_gettime, clock, time, 0);
	return time[0] * 1000000 + time[1] / 1000;
}

static inline long clock_ms(int clock)
{
	return clock_us(clock) / 1000;
}

enum { CLOCK_WALL = 0, CLOCK_MONOTONIC = 1 };
