/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, descriptors and small kernel files: what the virtual phone's own programs need as well as the probe. */
#ifndef PROBE_BASICS_H
#define PROBE_BASICS_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Closes a descriptor when its scope ends; -1 is none. */
void close_scoped(int *fd);
#define SCOPED_FD __attribute__((cleanup(close_scoped))) int

/* Vdso clocks: no system call on the targets that we build for. */
static inline uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void sleep_ms(unsigned int ms);

/* As much of a file as there is room for, and an end; its length, or -1 with errno. */
ssize_t read_file(const char *path, char *text, size_t room);
/* The first line of a small file, without its end; -1 with errno. */
int read_text(const char *path, char *text, size_t room);
/* Up to max decimal numbers of a small file's first line; their count, or -1 with errno. */
int read_numbers(const char *path, uint64_t *numbers, int max);
/* One write(2) of the whole text, as sysfs wants it; -1 with errno. */
int write_text(const char *path, const char *text);

#endif
