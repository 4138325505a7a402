// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

enum { NUMBER_MAX = 1000000000 };

static void add(struct text *text, const char *format, va_list args)
{
	size_t room = sizeof(text->is) - text->used;
	int length = vsnprintf(text->is + text->used, room, format, args);

	if (length > 0)
		text->used += (size_t)length < room ? (size_t)length : room - 1;
}

void text_add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(text, format, args);
	va_end(args);
}

void say(int fd, const char *format, ...)
{
	struct text text = { 0 };
	va_list args;

	va_start(args, format);
	add(&text, format, args);
	va_end(args);
	write(fd, text.is, text.used);
}

void fail(int status, const char *format, ...)
{
	struct text text = { 0 };
	va_list args;

	va_start(args, format);
	add(&text, format, args);
	va_end(args);
	write(STDERR_FILENO, text.is, text.used);
	_exit(status);
}

int parse_number(const char *word)
{
	long long value;
	char *end;

	/* strtoll() alone would take signs and blanks. */
	if (*word < '0' || *word > '9')
		return -1;
	value = strtoll(word, &end, 10);
	return *end || value > NUMBER_MAX ? -1 : (int)value;
}

bool same(const char *a, const char *b)
{
	return !strcmp(a, b);
}

bool begins_with(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

long long clock_ms(clockid_t clock)
{
	return (long long)(now_ns(clock) / 1000000);
}

ssize_t read_process(pid_t pid, const char *name, char *text, size_t room)
{
	char path[PATH_ROOM];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return read_file(path, text, room);
}

long long page_kib(void)
{
	return sysconf(_SC_PAGESIZE) / 1024;
}

long long rss_kib(pid_t pid)
{
	char statm[128];
	const char *second;

	if (read_process(pid, "statm", statm, sizeof(statm)) <= 0)
		return 0;
	second = strchr(statm, ' ');
	return second ? strtoll(second, NULL, 10) * page_kib() : 0;
}

long long value_of(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = text; (at = strstr(at, name)); at += size) {
		bool whole_word = at[size] == ' ' || name[size - 1] == ':';

		if ((at == text || at[-1] == '\n') && whole_word)
			return strtoll(at + size, NULL, 10);
	}
	return 0;
}
