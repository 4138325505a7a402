// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basics.h"

void close_scoped(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

ssize_t read_file(const char *path, char *text, size_t room)
{
	SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t used = 0, n;

	if (fd < 0)
		return -1;
	/* Large ones, such as /proc/vmstat, come in pieces. */
	while ((n = read(fd, text + used, room - 1 - (size_t)used)) > 0)
		used += n;
	text[used] = '\0';
	return n < 0 ? -1 : used;
}

int read_text(const char *path, char *text, size_t room)
{
	if (read_file(path, text, room) < 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int read_numbers(const char *path, uint64_t *numbers, int max)
{
	char text[512], *at = text, *end;
	int count = 0;

	if (read_text(path, text, sizeof(text)))
		return -1;
	while (count < max) {
		uint64_t number = strtoull(at, &end, 10);

		if (end == at)
			break;
		numbers[count++] = number;
		at = end;
	}
	return count;
}

int write_text(const char *path, const char *text)
{
	SCOPED_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	if (n >= 0 && (size_t)n != strlen(text)) {
		errno = EIO;
		return -1;
	}
	return n < 0 ? -1 : 0;
}
