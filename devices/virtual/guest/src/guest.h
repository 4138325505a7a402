/* SPDX-License-Identifier: Apache-2.0 */
/* What several of the virtual phone's own programs need: text in one piece, numbers, processes, the time. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "basics.h"

enum {
	PATH_ROOM = 256,
	/* What the sizes of apps are counted in, on every page size. */
	PAGE_UNIT = 4096,
};

/* Text that grows up to the room it has; what does not fit is left out. */
struct text {
	size_t used;
	char is[4096];
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In one write(2), so that lines of several processes do not mix. Whoever does not listen misses it. */
void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The number that a word is, or -1 if it is none, or more than a billion. */
int parse_number(const char *word);
bool same(const char *a, const char *b);
bool begins_with(const char *text, const char *prefix);

long long clock_ms(clockid_t clock);

/* /proc/PID/NAME; its length, or -1 with errno. */
ssize_t read_process(pid_t pid, const char *name, char *text, size_t room);
/* Resident memory; 0 once the process is gone. */
long long rss_kib(pid_t pid);
long long page_kib(void);
/* The number behind a name at the begin of a line, which ends with a colon or is a whole word; 0 if there is none. */
long long value_of(const char *text, const char *name);

#endif
